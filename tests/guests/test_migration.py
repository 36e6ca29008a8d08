"""A guest moves between two DPUs under stock QEMU, over vhost-user: the short form of ``make soak``."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dpu_under_test import Dpu
from tools.soak import moving
from tools.soak.moving import Lane
from tools.soak.outside import Outside

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

MODERN, PACKED = Lane("11.1", "6.12"), Lane("11.1", "7.3", packed=True)
OLD = Lane("7.2", "6.1", legacy=True)


@pytest.fixture(scope="module")
def dpus() -> Iterator[tuple[Outside, list[Dpu]]]:
    """Two DPUs and the network that both have as their uplink."""
    with moving.dpus() as found:
        yield found


@pytest.mark.parametrize(
    ("lane", "count", "failures"),
    [(MODERN, 3, ("destination killed at the switchover",)), (OLD, 2, ("state refused",)), (PACKED, 1, ())],
    ids=str,
)
def test_a_guest_moves_and_its_connections_go_on(
    dpus: tuple[Outside, list[Dpu]], lane: Lane, count: int, failures: tuple[str, ...], tmp_path: Path
) -> None:
    """Under iperf3 both ways and numbered lines both ways, each of them checked; a move that fails changes nothing."""
    with moving.travelling(*dpus, lane, tmp_path) as traveller:
        moving.travel(traveller, count, failures)
        assert traveller.moves.announced == count


def test_a_guest_that_is_quiet_tells_where_it_is(dpus: tuple[Outside, list[Dpu]], tmp_path: Path) -> None:
    with moving.travelling(*dpus, OLD, tmp_path) as traveller:
        traveller.talk.hush(traveller.guest)
        traveller.arrive()
        assert traveller.moves.announced == 1
        traveller.guest.wait_for("ping -c 1 -W 1 198.18.200.1")


def test_a_move_that_is_cancelled_or_loses_its_destination_leaves_the_guest(
    dpus: tuple[Outside, list[Dpu]], tmp_path: Path
) -> None:
    with moving.travelling(*dpus, Lane("11.1", "6.1", legacy=True), tmp_path) as traveller:
        moving.travel(traveller, 1, ("cancelled", "destination killed"))
        assert len(traveller.moves.failed) == 2
