"""VFIO_USER_REGION_WRITE_MULTI: many writes of up to 8 bytes in one message."""

import errno

import pytest

from softdpu.testkit import Client, RequestFailed, wire
from softdpu.testkit.client import single_write
from softdpu.testkit.wire import Flag, Op, RegionIndex

BAR0, CONFIG = RegionIndex.BAR0, RegionIndex.CONFIG
SELECT = 0x0E  # legacy queue_select


def many(*writes: bytes, count: int | None = None) -> bytes:
    return wire.WRITE_MULTI.pack(count=len(writes) if count is None else count) + b"".join(writes)


SELECT_ONE, SELECT_TWO = (single_write(BAR0, SELECT, bytes([value, 0])) for value in (1, 2))


def test_writes_are_done_in_order(vmm: Client) -> None:
    assert vmm.write_multi([(BAR0, SELECT, b"\1\0"), (BAR0, SELECT, b"\2\0"), (BAR0, SELECT, b"\3\0")]) == 3
    assert vmm.read(BAR0, SELECT, 2) == b"\3\0"


def test_reply_is_the_count_alone(vmm: Client) -> None:
    assert vmm.request(Op.REGION_WRITE_MULTI, many(SELECT_ONE, SELECT_TWO)).payload == (2).to_bytes(8, "little")


def test_a_thousand_writes(vmm: Client) -> None:
    assert vmm.write_multi([(BAR0, SELECT, value.to_bytes(2, "little")) for value in range(1000)]) == 1000
    assert vmm.read(BAR0, SELECT, 2) == (999).to_bytes(2, "little")


def test_posted_is_not_answered(vmm: Client) -> None:
    vmm.send(Op.REGION_WRITE_MULTI, many(SELECT_ONE, SELECT_TWO), flags=Flag.NO_REPLY)
    assert vmm.read(BAR0, SELECT, 2) == b"\2\0"


WRONG = {
    "count_above_what_is_there": many(SELECT_ONE, count=2),
    "count_below_what_is_there": many(SELECT_ONE, SELECT_TWO, count=1),
    "count_that_overflows": many(SELECT_ONE, count=(1 << 64) // 24 + 1),
    "nine_bytes": many(wire.SINGLE_WRITE.pack(region=BAR0, offset=0, count=9)),
    "cut_off": many(SELECT_ONE)[:-1],
    "no_body": b"",
}


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG.keys())
def test_wrong(vmm: Client, payload: bytes) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.REGION_WRITE_MULTI, payload)
    assert refused.value.errno == errno.EINVAL


def test_one_bad_write_among_good_ones(vmm: Client) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.write_multi([(BAR0, SELECT, b"\1\0"), (BAR0, 0x1000, b"\1\0"), (BAR0, SELECT, b"\2\0")])
    assert refused.value.errno == errno.EINVAL
    assert vmm.read(BAR0, SELECT, 2) == b"\0\0", "all are checked before the first is done"
