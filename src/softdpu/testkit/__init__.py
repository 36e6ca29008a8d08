"""A virtio-net driver and a vfio-user client, to test this device or anyone's.

Example, against any vfio-user virtio-net device that listens at ``path``::

    from softdpu.testkit import Client, GuestMemory, LegacyDriver, frame

    with Client(path) as vmm, GuestMemory() as memory:
        vmm.negotiate()
        memory.map_into(vmm)
        with LegacyDriver(vmm, memory).start() as net:
            net.send(frame(bytes.fromhex("ffffffffffff"), net.mac, b"hello"))
            print(net.receive(timeout=2.0).hex())
            net.stop()

``ModernDriver`` has the same calls. Nothing but the standard library is needed.
"""

from softdpu.testkit.admin import AdminQueue, AdminReply
from softdpu.testkit.client import Client, Message
from softdpu.testkit.driver import Driver
from softdpu.testkit.frames import BROADCAST, frame
from softdpu.testkit.legacy import LegacyDriver
from softdpu.testkit.link import Disconnected, ProtocolBroken, RequestFailed
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.migration import MigrationVerbs, Move
from softdpu.testkit.modern import ModernDriver
from softdpu.testkit.net import (
    ADMIN_VQ,
    ALL_FEATURES,
    IN_ORDER,
    NOTIFICATION_DATA,
    PACKED,
    LostInterrupt,
    NegotiationFailed,
    NetDriver,
)
from softdpu.testkit.packed import PackedRing
from softdpu.testkit.pci import Interrupts, PciFunction
from softdpu.testkit.ring import Buffer, DeviceBroke, Ring, RingFull, SplitRing
from softdpu.testkit.statistics import STATISTICS, StatisticsRefused
from softdpu.testkit.vhost import FrontEnd
from softdpu.testkit.vhost_driver import VhostDriver

__all__ = [
    "ADMIN_VQ",
    "ALL_FEATURES",
    "BROADCAST",
    "IN_ORDER",
    "NOTIFICATION_DATA",
    "PACKED",
    "STATISTICS",
    "AdminQueue",
    "AdminReply",
    "Buffer",
    "Client",
    "DeviceBroke",
    "Disconnected",
    "Driver",
    "FrontEnd",
    "GuestMemory",
    "Interrupts",
    "LegacyDriver",
    "LostInterrupt",
    "Message",
    "MigrationVerbs",
    "ModernDriver",
    "Move",
    "NegotiationFailed",
    "NetDriver",
    "PackedRing",
    "PciFunction",
    "ProtocolBroken",
    "RequestFailed",
    "Ring",
    "RingFull",
    "SplitRing",
    "StatisticsRefused",
    "VhostDriver",
    "frame",
]
