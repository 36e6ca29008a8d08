"""VFIO_USER_REGION_WRITE."""

import errno

import pytest

from softdpu.testkit import Client, RequestFailed, wire
from softdpu.testkit.wire import Flag, Op, RegionIndex

CONFIG, BAR0 = RegionIndex.CONFIG, RegionIndex.BAR0
STATUS, SELECT, NOTIFY = 0x12, 0x0E, 0x10  # legacy registers


def access(region: int, offset: int, data: bytes, count: int | None = None) -> bytes:
    return wire.REGION_ACCESS.pack(region=region, offset=offset, count=len(data) if count is None else count) + data


def test_reply_repeats_the_request_without_the_data(vmm: Client) -> None:
    reply = vmm.request(Op.REGION_WRITE, access(BAR0, STATUS, b"\1")).payload
    assert reply == wire.REGION_ACCESS.pack(region=BAR0, offset=STATUS, count=1)


def test_what_is_written_is_read(vmm: Client) -> None:
    vmm.write(BAR0, SELECT, b"\2\0")
    assert vmm.read(BAR0, SELECT, 2) == b"\2\0"


def test_posted_write_is_done_in_order_and_never_answered(vmm: Client) -> None:
    for value in (1, 2, 3):
        vmm.write(BAR0, SELECT, bytes([value, 0]), posted=True)
    assert vmm.read(BAR0, SELECT, 2) == b"\3\0"


WRONG = {
    "past_the_end": access(CONFIG, 4096, b"\0"),
    "across_the_end": access(BAR0, 62, bytes(4)),
    "offset_that_wraps": access(CONFIG, (1 << 64) - 2, bytes(4)),
    "region_that_is_empty": access(RegionIndex.ROM, 0, bytes(4)),
    "region_that_is_unknown": access(9, 0, bytes(4)),
    "less_data_than_count": access(CONFIG, 4, b"\0", count=4),
    "more_data_than_count": access(CONFIG, 4, bytes(8), count=4),
    "count_far_beyond_the_data": access(CONFIG, 4, b"\0", count=0xFFFFFFFF),
    "short_body": access(CONFIG, 4, b"")[:-1],
    "no_body": b"",
}


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG.keys())
def test_wrong(vmm: Client, payload: bytes) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.REGION_WRITE, payload)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG.keys())
def test_wrong_posted_write_is_not_answered_either(vmm: Client, payload: bytes) -> None:
    """An answer to a posted write is taken for the answer to the next request."""
    vmm.send(Op.REGION_WRITE, payload, flags=Flag.NO_REPLY)
    assert vmm.read(CONFIG, 0, 2) == b"\xf4\x1a"


@pytest.mark.parametrize("queue", [0, 2, 3, 64, 65535])
def test_doorbell_of_a_queue_that_does_not_run(vmm: Client, queue: int) -> None:
    vmm.write(BAR0, NOTIFY, queue.to_bytes(2, "little"))
    assert vmm.read(BAR0, STATUS, 1) == b"\0"
