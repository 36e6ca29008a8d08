"""A stock guest: TCP both ways with iperf3, and ping, through our function and through QEMU's own virtio-net.

Both devices are transitional, in the same guest, each on a tap in the same namespace.
"""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from softdpu.lab import Guest
from tools.bench.pairs import Comparison, in_turn
from tools.bench.rows import GUEST, PING, Row
from tools.demo.stage import Stage
from tools.demo.steps import HOTPLUG, firmware

SECONDS = 3  # of each iperf3 run
PINGS = 200


@dataclass(frozen=True)
class Path:
    """A device of the guest and the tap at its other end, on a subnet of their own."""

    tap: str
    subnet: str

    @property
    def dpu(self) -> str:
        """The tap's address."""
        return f"{self.subnet}.1"

    @property
    def guest(self) -> str:
        """The guest's address."""
        return f"{self.subnet}.2"


def plug_both(stage: Stage, guest: Guest, peer_tap: str, net: str) -> tuple[Path, Path]:
    """QEMU's device is there since boot (eth0); ours is hot-plugged beside it (eth1). Each has a subnet of ``net``."""
    stage.reply(f"softdpu host attach {guest.qmp_path}")
    reply = stage.reply(HOTPLUG)
    guest.wait_for("ip link show eth1", 30)
    peer, ours = Path(peer_tap, f"{net}.1"), Path(str(reply["sf_rep_net_device"]), f"{net}.2")
    for path, name in ((peer, "eth0"), (ours, "eth1")):
        stage.in_netns(f"ip address add {path.dpu}/24 dev {path.tap}", quiet=True)
        stage.in_netns(f"ip link set {path.tap} up", quiet=True)
        guest.run(f"ip address add {path.guest}/24 dev {name}; ip link set {name} up", check=True)
    return peer, ours


def rows() -> Iterator[Comparison]:
    """Legacy and modern driver, in turn."""
    with Stage() as stage:
        firmware(stage)
        stage.start_controller()
        for driver in ("legacy", "modern"):
            yield from _in_guest(stage, driver)


def _in_guest(stage: Stage, driver: str) -> Iterator[Comparison]:
    tap, net = f"peer-{driver}", "10.8" if driver == "legacy" else "10.9"
    stage.in_netns(f"ip tuntap add {tap} mode tap vnet_hdr", quiet=True)
    netdev = {"type": "tap", "id": "n0", "ifname": tap, "script": "no", "downscript": "no"}
    device = {"driver": "virtio-net-pci-transitional", "netdev": "n0", "bus": "rp2", "mac": "52:54:00:00:00:01"}
    with Guest(
        legacy=driver == "legacy",
        root_ports=2,
        netdevs=[netdev],
        devices=[device],
        wrapper=["ip", "netns", "exec", stage.netns],
    ) as guest:
        peer, ours = plug_both(stage, guest, tap, net)
        yield from _compared(stage, guest, peer, ours, f"{guest.release.split('-')[0]}, {driver}")


def _compared(stage: Stage, guest: Guest, peer: Path, ours: Path, title: str) -> Iterator[Comparison]:
    def both(row: Row, what: str, measure: Callable[[Path], float]) -> Comparison:
        values = in_turn({"peer": partial(measure, peer), "ours": partial(measure, ours)})
        return row.comparison(f"{title}{what}", values["peer"], values["ours"])

    yield both(GUEST, ", out", partial(tcp, stage, guest, way=""))
    yield both(GUEST, ", in", partial(tcp, stage, guest, way="-R"))
    yield both(PING, "", partial(rtt, stage))


def tcp(stage: Stage, guest: Guest, path: Path, way: str) -> float:
    """Mbit/s that the receiver got in one iperf3 run from (or with -R to) the guest."""
    server = subprocess.Popen(
        ["ip", "netns", "exec", stage.netns, "iperf3", "-s", "-1", "-B", path.dpu],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(0.3)
        done = guest.run(f"iperf3 -c {path.dpu} -t {SECONDS} {way} -J", timeout=60, check=True)
        return float(json.loads(done.output)["end"]["sum_received"]["bits_per_second"]) / 1e6
    finally:
        server.kill()
        server.wait()


def rtt(stage: Stage, path: Path) -> float:
    """Average round trip in ms, from the tap's end."""
    output = stage.in_netns(f"ping -q -c {PINGS} -i 0.005 {path.guest}", quiet=True).stdout
    found = re.search(r"= [\d.]+/([\d.]+)/", output)
    if found is None:
        raise RuntimeError(f"no answer on {path.tap}: {output}")
    return float(found[1])
