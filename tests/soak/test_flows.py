"""What a receiver takes for wrong, and what it knows to be meant for another life."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from softdpu.testkit import frame
from tools.soak.flows import LEFT, RIGHT, Arrivals, Numbered, OutOfOrder, Ring, Table, Word, parse, payload

FLOW = 3
BORN = 7  # the last epoch before the receiver's life


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    with Table(tmp_path / "table", Ring(4).flows) as table:
        yield table


@pytest.fixture
def arrivals(table: Table) -> Arrivals:
    return Arrivals(table, FLOW, BORN)


def take(arrivals: Arrivals, *numbers: int, epoch: int = BORN + 1) -> None:
    for number in numbers:
        arrivals.take(Numbered(FLOW, epoch, number), now=number)


def test_frames_in_their_order_are_counted(table: Table, arrivals: Arrivals) -> None:
    take(arrivals, 0, 1, 2)
    take(arrivals, 0, 1, epoch=BORN + 2)
    assert (table.get(FLOW, Word.CAME), table.sum(Word.ALL_CAME)) == (2, 5)


@pytest.mark.parametrize("numbers", [(1,), (0, 2), (0, 0), (0, 1, 3, 2)])
def test_a_lost_a_doubled_and_a_late_frame_are_seen(arrivals: Arrivals, numbers: tuple[int, ...]) -> None:
    with pytest.raises(OutOfOrder):
        take(arrivals, *numbers)


def test_a_frame_of_an_epoch_that_is_over_is_wrong(arrivals: Arrivals) -> None:
    take(arrivals, 0, epoch=BORN + 2)
    with pytest.raises(OutOfOrder):
        take(arrivals, 0, epoch=BORN + 1)


def test_a_frame_for_a_former_life_is_none_of_this_one(table: Table, arrivals: Arrivals) -> None:
    take(arrivals, 5, epoch=BORN)
    take(arrivals, 0)
    assert (table.get(FLOW, Word.CAME), table.get(FLOW, Word.LATE)) == (1, 1)


def test_what_is_under_way_is_known(table: Table, arrivals: Arrivals) -> None:
    table.set(FLOW, Word.SENT_EPOCH, BORN + 1)
    table.set(FLOW, Word.SENT, 5)
    assert table.under_way(FLOW) == 5
    take(arrivals, 0, 1)
    assert table.under_way(FLOW) == 3


@pytest.mark.parametrize("at", [20, 40, 60])
def test_a_changed_bit_is_seen(at: int) -> None:
    sent = bytearray(frame(bytes(6), bytes(6), payload(what := Numbered(FLOW, 9, 1000))))
    assert parse(bytes(sent)) == what
    sent[at] ^= 1
    with pytest.raises(ValueError, match="came changed"):
        parse(bytes(sent))


def test_each_flow_has_two_ends() -> None:
    ring = Ring(4)
    for station in range(4):
        for side, back in ((LEFT, RIGHT), (RIGHT, LEFT)):
            other = ring.neighbour(station, side)
            assert ring.outgoing(station, side) == ring.incoming(other, back)
            assert ring.ends(ring.outgoing(station, side)) == (station, other)
