"""Other people's back ends and drivers beside ours: DPDK's testpmd and OVS with DPDK, for tests and comparisons.

from softdpu.lab.peers import Testpmd, install, vhost

install()
with Testpmd([vhost(0, "/tmp/guest0"), vhost(1, "/tmp/guest1")]) as peer:
    peer.command("start")
    print(peer.command("show port stats all"))

Needs root. Whatever is started ends with its ``with`` block, or with the process that started it.
"""

from softdpu.lab.peers.errors import PeerError
from softdpu.lab.peers.hugepages import Hugepages
from softdpu.lab.peers.ovs import OvsDpdk
from softdpu.lab.peers.packages import PACKAGES, install, missing
from softdpu.lab.peers.testpmd import Testpmd
from softdpu.lab.peers.vdev import vhost, virtio_user

__all__ = ["PACKAGES", "Hugepages", "OvsDpdk", "PeerError", "Testpmd", "install", "missing", "vhost", "virtio_user"]
