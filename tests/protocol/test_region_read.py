"""VFIO_USER_REGION_READ."""

import errno

import pytest

from softdpu.testkit import Client, RequestFailed, wire
from softdpu.testkit.wire import Op, RegionIndex

CONFIG, BAR0 = RegionIndex.CONFIG, RegionIndex.BAR0


def refusal(vmm: Client, payload: bytes) -> int | None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.REGION_READ, payload)
    return refused.value.errno


def access(region: int, offset: int, count: int) -> bytes:
    return wire.REGION_ACCESS.pack(region=region, offset=offset, count=count)


def test_reply_repeats_the_request_before_the_data(vmm: Client) -> None:
    reply = vmm.request(Op.REGION_READ, access(CONFIG, 0, 4)).payload
    assert reply == access(CONFIG, 0, 4) + b"\xf4\x1a\x00\x10"


def test_whole_configuration_space(vmm: Client) -> None:
    """QEMU reads it all at once before anything else."""
    whole = vmm.read(CONFIG, 0, 4096)
    assert whole[:4] == vmm.read(CONFIG, 0, 4)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_any_size_at_any_offset(vmm: Client, size: int) -> None:
    whole = vmm.read(CONFIG, 0, 64)
    for offset in range(0, 64 - size):
        assert vmm.read(CONFIG, offset, size) == whole[offset : offset + size]


WRONG = {
    "past_the_end": access(CONFIG, 4096, 1),
    "across_the_end": access(CONFIG, 4094, 4),
    "across_the_end_of_a_bar": access(BAR0, 62, 4),
    "offset_that_wraps": access(CONFIG, (1 << 64) - 2, 4),
    "region_that_is_empty": access(RegionIndex.ROM, 0, 4),
    "region_that_is_unknown": access(9, 0, 4),
    "region_far_away": access(0xFFFFFFFF, 0, 4),
    "more_than_a_transfer": access(CONFIG, 0, 0xFFFFFFFF),
    "short_body": access(CONFIG, 0, 4)[:-1],
    "no_body": b"",
}


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG.keys())
def test_wrong(vmm: Client, payload: bytes) -> None:
    assert refusal(vmm, payload) == errno.EINVAL


def test_isr_is_read_with_one_byte_and_clears(vmm: Client) -> None:
    assert vmm.read(BAR0, 0x13, 1) == b"\0"
