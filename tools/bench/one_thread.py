"""Cycles a frame with driver and datapath in one thread: the steadiest figure on a machine that others use too."""

from collections.abc import Iterator
from functools import partial

from tools.bench.backends import memory
from tools.bench.pairs import Comparison, Run, in_turn
from tools.bench.rows import CYCLES, FLOOD, STATIONS
from tools.bench.windows import LAYOUTS, cycles, p99

CROWD = 500
STATIONS_KNOWN, SENDERS = 65536, 64  # addresses, and those whose they are: each may have 1024


def rows() -> Iterator[Comparison]:
    """64 B: ours in either layout, against the peer's packed one, which is its faster."""
    with memory() as pages:
        peer = partial(cycles, "dpdk", "--octets", 64, "--packed", "--huge-dir", pages.path)
        ours: dict[str, Run] = {
            layout: partial(cycles, "ours", "--octets", 64, *options) for layout, options in LAYOUTS.items()
        }
        values = in_turn({"peer": peer, **ours})
    for layout in LAYOUTS:
        yield CYCLES.comparison(layout, values["peer"], values[layout])


def flood() -> Iterator[Comparison]:
    """Other guests of the switch: what one that floods does to a pair's latency, and what many addresses cost."""
    for layout, options in LAYOUTS.items():
        waits = partial(p99, "waits", "--members", CROWD, "--small-pages", *options)
        values = in_turn({"still": waits, "flood": partial(waits, "--flood")})
        still = max(values["still"])
        yield FLOOD.comparison(
            f"{layout} ({still:.1f} without)", (FLOOD.limit,) * len(values["flood"]), values["flood"]
        )
    for layout, options in LAYOUTS.items():
        ours = partial(cycles, "ours", "--members", SENDERS, "--small-pages", *options)
        values = in_turn({"two": ours, "many": partial(ours, "--stations", STATIONS_KNOWN)})
        yield STATIONS.comparison(layout, values["two"], values["many"])
