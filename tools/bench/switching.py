"""From guest to guest: 64 B and 1518 B, beside testpmd, OVS and memcpy; and one frame in flight."""

from collections.abc import Callable, Iterator

from tools.bench.backends import Forwarder, Runner, Switch, memory, turn
from tools.bench.ours import Ours
from tools.bench.pairs import Comparison, Run, best_of, in_turn
from tools.bench.rows import COPY, ITSELF, LARGE, LATENCY, OVS, SMALL, Row
from tools.bench.windows import LAYOUTS, copies, mpps, p50

Measure = Callable[..., float]


def itself() -> Iterator[Comparison]:
    """Two of the same kind, which shows how far a ratio can be trusted. Not among the rows that run unasked."""
    with memory() as pages, memory() as more, Forwarder(pages) as peer, Forwarder(more) as ours:
        values = in_turn(_each_layout({"peer": peer, "ours": ours}, mpps, "--octets", 64))
        for layout in LAYOUTS:
            yield ITSELF.comparison(layout, values[f"peer {layout}"], values[f"ours {layout}"])


def small() -> Iterator[Comparison]:
    """64 B."""
    yield from _against_testpmd(SMALL, mpps, best_of, "--octets", 64)


def large() -> Iterator[Comparison]:
    """1518 B."""
    yield from _against_testpmd(LARGE, mpps, best_of, "--octets", 1518)


def latency() -> Iterator[Comparison]:
    """One frame in flight: the peer with the same layout."""
    with memory() as pages, Forwarder(pages) as peer, Ours() as ours:
        values = in_turn(_each_layout({"peer": peer, "ours": ours}, p50, "--octets", 64))
        for layout in LAYOUTS:
            yield LATENCY.comparison(layout, values[f"peer {layout}"], values[f"ours {layout}"])


def ovs() -> Iterator[Comparison]:
    """64 B beside a learning OVS, which has the split layout only."""
    with memory() as pages, Switch(pages) as peer, Ours() as ours:
        runs = _each_layout({"peer": peer}, mpps, layouts=("split",)) | _each_layout({"ours": ours}, mpps)
        values = in_turn(runs)
        for layout in LAYOUTS:
            yield OVS.comparison(layout, values["peer split"], values[f"ours {layout}"])


def memcpy() -> Iterator[Comparison]:
    """1518 B beside what one copy of the same bytes takes."""
    with memory(), Ours() as ours:
        options = ("--octets", 1518)
        values = in_turn({"peer": lambda: copies(*options)} | _each_layout({"ours": ours}, mpps, *options))
        for layout in LAYOUTS:
            yield COPY.comparison(layout, values["peer"], values[f"ours {layout}"])


def _against_testpmd(
    row: Row, measure: Measure, better: Callable[..., tuple[float, ...]], *options: object
) -> Iterator[Comparison]:
    with memory() as pages, Forwarder(pages) as peer, Ours() as ours:
        values = in_turn(_each_layout({"peer": peer, "ours": ours}, measure, *options))
        best = better(*(values[f"peer {layout}"] for layout in LAYOUTS))
        for layout in LAYOUTS:
            yield row.comparison(layout, best, values[f"ours {layout}"])


def _each_layout(
    back_ends: dict[str, Runner], measure: Measure, *options: object, layouts: tuple[str, ...] = tuple(LAYOUTS)
) -> dict[str, Run]:
    """A run for each back end and layout, peer and ours in turn."""

    def run(back_end: Runner, layout: str) -> Run:
        def once() -> float:
            with turn(back_end):
                return measure(back_end, *options, *LAYOUTS[layout])

        return once

    return {f"{name} {layout}": run(back_end, layout) for layout in layouts for name, back_end in back_ends.items()}
