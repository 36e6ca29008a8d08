"""The rows of docs/performance.md: what ours must reach, as ratios to the peer's figure of the same minute."""

from dataclasses import dataclass
from typing import Literal

from tools.bench.pairs import Comparison


@dataclass(frozen=True)
class Row:
    """One row; ``name`` is what ROWS= picks."""

    name: str
    what: str
    unit: str
    better: Literal["more", "less"]
    must: float
    stretch: float
    limit: float = 0.0  # of a row that has no peer: what stands in its place

    def comparison(self, variant: str, peer: tuple[float, ...], ours: tuple[float, ...]) -> Comparison:
        """The result of one variant of it."""
        what = f"{self.what}: {variant}" if variant else self.what
        return Comparison(self.name, what, self.unit, self.better, self.must, self.stretch, peer, ours)


SMALL = Row("small", "64 B guest to guest, against the better testpmd", "Mpps", "more", 1.5, 2.5)
OVS = Row("ovs", "64 B guest to guest, against OVS-DPDK NORMAL", "Mpps", "more", 2.5, 4.0)
LARGE = Row("large", "1518 B guest to guest, against the better testpmd", "Mpps", "more", 1.3, 1.6)
COPY = Row("memcpy", "1518 B guest to guest, against a memcpy of the ring", "Mpps", "more", 0.8, 0.95)
VIRTIO_USER = Row("virtio-user", "64 B, DPDK's virtio_user as driver, against testpmd", "Mpps", "more", 1.0, 1.1)
CYCLES = Row("cycles", "64 B, cycles a frame in one thread, against DPDK packed", "cycles", "less", 0.75, 0.5)
LATENCY = Row("latency", "p50, one frame in flight, against testpmd", "µs", "less", 0.9, 0.7)
TAP = Row("tap", "to and from a tap, 64 KB GSO frames against 1514 B", "Gbit/s", "more", 2.0, 2.6)
GUEST = Row("guest", "a stock guest under QEMU, against QEMU's virtio-net", "Mbit/s", "more", 1.0, 1.5)
PING = Row("guest", "a stock guest under QEMU, ping against QEMU's virtio-net", "ms", "less", 1.0, 1 / 1.5)

ITSELF = Row("itself", "64 B, testpmd against itself: the harness's own error", "Mpps", "more", 0.98, 1.0)

FLOOD = Row("flood", "p99 as another floods 500 ports, against the limit", "µs", "less", 1.0, 0.5, 100.0)
STATIONS = Row("flood", "64 B, cycles a frame with 64 K addresses, against 2", "cycles", "less", 1.05, 1.0)
IDLE_MEMORY = Row("operator", "an idle device's memory, of 500, against the limit", "MB", "less", 1.0, 0.5, 1.0)
IDLE_CORE = Row("operator", "500 idle devices, of a core, against the limit", "%", "less", 1.0, 0.5, 1.0)
LIST = Row("operator", "virtnet list with 500 devices, against the limit", "s", "less", 1.0, 0.5, 0.5)
VERSION = Row("operator", "virtnet -v, against the limit", "s", "less", 1.0, 0.5, 0.15)
HOTPLUG_TIME = Row("operator", "hotplug until the guest has eth0, against the limit", "s", "less", 1.0, 0.5, 1.5)
RESTART = Row("operator", "longest gap as the controller is killed, against the limit", "s", "less", 1.0, 0.5, 0.1)

ROWS = (SMALL, OVS, LARGE, COPY, VIRTIO_USER, CYCLES, LATENCY, TAP, GUEST, FLOOD, IDLE_MEMORY)
