"""Cycles a frame with driver and datapath in one thread: the steadiest figure on a machine that others use too."""

from collections.abc import Iterator
from functools import partial

from tools.bench.backends import memory
from tools.bench.pairs import Comparison, Run, in_turn
from tools.bench.rows import CYCLES
from tools.bench.windows import LAYOUTS, cycles


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
