"""What a comparison is: pairs of runs, peer and ours in turn, and the median of their ratios."""

import statistics
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

Run = Callable[[], float]
PAIRS = 5


class Comparison(msgspec.Struct, frozen=True):
    """The result of one comparison: one value a pair. ``better`` says which way is up."""

    row: str  # of the table
    what: str
    unit: str
    better: Literal["more", "less"]
    must: float
    stretch: float
    peer: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Ours to the peer's of the same pair."""
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def ratio(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)

    def reaches(self, bound: float) -> bool:
        """Whether the ratio is as good as a bound."""
        return self.ratio >= bound if self.better == "more" else self.ratio <= bound

    def distance(self, bound: float) -> float:
        """How far the ratio is from a bound, in percent of it; positive is beyond it."""
        share = self.ratio / bound if self.better == "more" else bound / self.ratio
        return 100 * (share - 1)


def in_turn(runs: Mapping[str, Run], pairs: int = PAIRS) -> dict[str, tuple[float, ...]]:
    """Each run once a round, round by round; the values of each."""
    rounds = [{name: run() for name, run in runs.items()} for _ in range(pairs)]
    return {name: tuple(values[name] for values in rounds) for name in runs}


def best_of(*series: tuple[float, ...]) -> tuple[float, ...]:
    """The best peer of each round."""
    return tuple(max(values) for values in zip(*series, strict=True))
