"""The log: what one device may cause is bounded, and what was left out is told."""

import logging
import time
from collections.abc import Callable

import pytest

from softdpu.controller.allowance import BURST, EACH, Allowance
from softdpu.datapath.messages import Access, Event
from tests.controller.made import made


def test_a_burst_then_a_line_at_a_time() -> None:
    allowance = Allowance()
    assert [allowance.admit(0.0) for _ in range(BURST + 7)] == [0] * BURST + [None] * 7
    assert allowance.admit(EACH) == 7
    assert allowance.admit(EACH) is None
    assert allowance.admit(2 * EACH) == 1


def test_a_quiet_time_brings_a_burst_and_no_more() -> None:
    allowance = Allowance()
    assert sum(allowance.admit(1000 * BURST * EACH) is not None for _ in range(2 * BURST)) == BURST


def mistake(number: int) -> Access:
    """A write of 0 to queue_enable: a modern driver must not."""
    return Access(0, number, True, 4, 0x1C, 2, b"\0\0", 0)


def fault(number: int) -> Event:
    """A VMM that speaks before its VERSION."""
    return Event(0, number, "peer_fault", 0, "its first message is not VERSION")


@pytest.mark.parametrize("cause", [mistake, fault])
def test_who_errs_for_ever_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture, cause: Callable[[int], Access | Event]
) -> None:
    device, begun = made(), time.monotonic()
    with caplog.at_level(logging.INFO, "softdpu.device"):
        for number in range(5000):
            device.answer(cause(number))
    more = (time.monotonic() - begun) / EACH
    assert BURST <= len(caplog.messages) <= BURST + 2 * more + 1, "each later line, and one that tells what it skipped"


def test_whoever_asks_for_more_gets_all_of_it(caplog: pytest.LogCaptureFixture) -> None:
    device = made()
    with caplog.at_level(logging.DEBUG, "softdpu.device"):
        for number in range(3 * BURST):
            device.answer(mistake(number))
    assert len(caplog.messages) == 3 * BURST
