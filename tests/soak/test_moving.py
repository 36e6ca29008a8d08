"""What is reported of moves."""

import pytest

from tools.soak.moving import LANES, percentile


@pytest.mark.parametrize(("which", "expected"), [(50, 25), (99, 50), (98, 49), (1, 1)])
def test_percentiles_are_values_that_were_seen(which: int, expected: int) -> None:
    assert percentile([float(value) for value in range(50, 0, -1)], which) == expected


def test_all_moves_are_shared_among_the_lanes() -> None:
    assert sum(round(50 * share) for share in LANES.values()) == 50
