"""in + copies = out + drops, for each port and for all of them."""

from softdpu.datapath import ledger
from softdpu.datapath.counters import CAME_IN, COPIES, DROPS, FUNCTION_COUNTERS, ROW, WENT_OUT


def port(**counted: int) -> dict[str, int]:
    return dict.fromkeys(FUNCTION_COUNTERS, 0) | counted


def test_every_counter_named_is_one() -> None:
    named = [*CAME_IN, *COPIES, *WENT_OUT, *DROPS]
    assert set(named) <= set(FUNCTION_COUNTERS)
    assert len(named) == len(set(named))
    assert len(FUNCTION_COUNTERS) <= ROW


def test_a_port_that_did_nothing_closes() -> None:
    assert ledger.check({"a": port()}) is None


def test_a_broadcast_that_one_takes_and_one_cannot_closes() -> None:
    sender = port(transmitted_frames=1, flood_copies=2, switch_out_frames=2, representor_out_frames=1)
    taker = port(switch_in_frames=1, received_frames=1)
    full = port(switch_in_frames=1, drop_no_buffer=1)
    ports = {"sender": sender, "taker": taker, "full": full}
    assert ledger.check(ports) is None
    total = ledger.of_all(ledger.of_port(counted) for counted in ports.values())
    assert (total.came_in, total.copies, total.went_out, total.dropped) == (1, 2, 2, {"no_buffer": 1})
    assert total.missing == 0


def test_a_frame_without_an_end_is_named_with_its_port() -> None:
    said = ledger.check({"good": port(), "bad": port(transmitted_frames=5, received_frames=0, drop_vlan=3)})
    assert said == (
        "bad: 5 frames came in and 0 copies were made, but 0 went out and 3 were dropped (3 vlan): 2 are missing."
    )


def test_a_frame_out_of_nowhere_is_missing_negatively() -> None:
    assert ledger.of_port(port(received_frames=1)).missing == -1


def test_a_port_that_was_not_given_shows_in_the_switch() -> None:
    said = ledger.check({"sender": port(transmitted_frames=1, switch_out_frames=1)})
    assert said == "ports handed 1 frames to each other, but 0 came."
