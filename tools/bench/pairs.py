"""What a comparison is: pairs of runs, peer and ours in turn, and the median of their ratios."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

Run = Callable[[], float]


@dataclass(frozen=True)
class Comparison:
    """The result of one comparison; ``better`` says which way is up."""

    what: str
    unit: str
    better: str  # "more" or "less"
    peer: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Ours against the peer of the same pair: above 1 is better than the peer."""
        pairs = zip(self.ours, self.peer, strict=True)
        return [ours / peer if self.better == "more" else peer / ours for ours, peer in pairs]

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)

    def row(self) -> str:
        """One line of the table."""
        peer, ours = statistics.median(self.peer), statistics.median(self.ours)
        low, high = min(self.ratios), max(self.ratios)
        return f"{self.what:44}{peer:9.2f}{ours:9.2f} {self.unit:8}{self.ratio:6.2f} ×  ({low:.2f}-{high:.2f})"


HEADING = f"{'':44}{'peer':>9}{'ours':>9} {'':8}{'ratio':>6}    (spread); above 1 is better than the peer"


def compare(what: str, unit: str, better: str, peer: Run, ours: Run, pairs: int = 5) -> Comparison:
    """Run peer and ours in turn."""
    results: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs):
        results[0].append(peer())
        results[1].append(ours())
    return Comparison(what, unit, better, tuple(results[0]), tuple(results[1]))
