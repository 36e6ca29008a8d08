"""Ratios, medians, and how far a row is."""

from itertools import count

import pytest

from tools.bench.pairs import Comparison, best_of, in_turn
from tools.bench.rows import ROWS
from tools.bench.table import line, verdict


def comparison(better: str, ours: tuple[float, ...]) -> Comparison:
    """Against a peer whose figure swings."""
    return Comparison("r", "what", "Mpps", better, 1.5 if better == "more" else 0.8, 2.0, (1.0, 2.0, 4.0), ours)  # type: ignore[arg-type]


def test_a_ratio_is_that_of_a_pair_and_the_median_counts() -> None:
    assert comparison("more", (2.0, 3.0, 40.0)).ratio == 2.0


@pytest.mark.parametrize(("better", "distance"), [("more", 100 / 3), ("less", -60)])
def test_distance_is_positive_beyond_the_bound(better: str, distance: float) -> None:
    result = comparison(better, (2.0, 4.0, 8.0))
    assert result.distance(result.must) == pytest.approx(distance)
    assert result.reaches(result.must) == (distance > 0)


def test_runs_take_turns() -> None:
    clock = count()
    values = in_turn({"peer": lambda: next(clock), "ours": lambda: next(clock)}, pairs=3)
    assert values == {"peer": (0, 2, 4), "ours": (1, 3, 5)}


def test_the_better_peer_is_chosen_in_each_round() -> None:
    assert best_of((1.0, 5.0), (2.0, 4.0)) == (2.0, 5.0)


def test_a_line_names_what_is_missing() -> None:
    result = ROWS[0].comparison("split", (10.0,), (12.0,))
    assert "1.20×" in line(result) and "≥ 1.50×   -20%" in line(result)
    assert verdict([result]) == "0 of 1 reach what they must, 0 the stretch"
