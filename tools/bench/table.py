"""The table that is printed, row by row, with how far each is from what it must reach."""

import statistics
from collections.abc import Sequence

from tools.bench.pairs import Comparison

HEADING = (
    f"{'':62}{'peer':>9}{'ours':>9} {'':7}{'ratio':>7}  {'spread':11}  {'must':>7} {'':>6}  {'stretch':>7} {'':>6}"
)


def line(result: Comparison) -> str:
    """One comparison."""
    peer, ours = statistics.median(result.peer), statistics.median(result.ours)
    spread = f"{min(result.ratios):.2f}-{max(result.ratios):.2f}"
    bounds = "  ".join(_bound(result, bound) for bound in (result.must, result.stretch))
    return f"{result.what:62}{peer:9.2f}{ours:9.2f} {result.unit:7}{result.ratio:6.2f}×  {spread:11}  {bounds}"


def _bound(result: Comparison, bound: float) -> str:
    sign = "≥" if result.better == "more" else "≤"
    return f"{sign}{bound:5.2f}× {result.distance(bound):+5.0f}%"


def verdict(results: Sequence[Comparison]) -> str:
    """How many reach what."""
    must = sum(result.reaches(result.must) for result in results)
    stretch = sum(result.reaches(result.stretch) for result in results)
    return f"{must} of {len(results)} reach what they must, {stretch} the stretch"


def markdown(results: Sequence[Comparison]) -> str:
    """The same as a table of a page: what misses what it must is bold."""
    lines = ["| | peer | ours | ratio | spread | must | stretch |", "|---|---|---|---|---|---|---|"]
    return "\n".join([*lines, *map(_cells, results)]) + "\n"


def _cells(result: Comparison) -> str:
    peer, ours = statistics.median(result.peer), statistics.median(result.ours)
    sign = "≥" if result.better == "more" else "≤"
    ratio = f"{result.ratio:.2f}"
    cells = [
        result.what,
        f"{peer:.2f} {result.unit}",
        f"{ours:.2f} {result.unit}",
        ratio if result.reaches(result.must) else f"**{ratio}**",
        f"{min(result.ratios):.2f}-{max(result.ratios):.2f}",
        f"{sign} {result.must:.2f}",
        f"{sign} {result.stretch:.2f}",
    ]
    return f"| {' | '.join(cells)} |"
