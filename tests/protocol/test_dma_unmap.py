"""VFIO_USER_DMA_UNMAP: guest memory taken back."""

import errno
from collections.abc import Iterator

import pytest

from softdpu.testkit import Client, GuestMemory, RequestFailed, wire
from softdpu.testkit.wire import PAGE, Op
from tests.dpu_under_test import Dpu

UNMAP_ALL, DIRTY_BITMAP = 2, 1


def unmapped(address: int, length: int, flags: int = 0, argsz: int = wire.DMA_UNMAP.size) -> bytes:
    return wire.DMA_UNMAP.pack(argsz=argsz, flags=flags, address=address, length=length)


@pytest.fixture
def three(vmm: Client, memory: GuestMemory) -> Iterator[Client]:
    """Three maps in a row, of one, two and one page, from 0x1000 on."""
    for address, pages in ((0x1000, 1), (0x2000, 2), (0x4000, 1)):
        vmm.dma_map(memory.fd, address=address, length=pages * PAGE)
    yield vmm


def refusal(vmm: Client, payload: bytes) -> int | None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.DMA_UNMAP, payload)
    return refused.value.errno


def test_reply_repeats_the_request(three: Client) -> None:
    assert three.request(Op.DMA_UNMAP, unmapped(0x1000, PAGE)).payload == unmapped(0x1000, PAGE)


@pytest.mark.usefixtures("no_leak")
def test_one_unmap_covers_several_maps(dpu: Dpu, three: Client) -> None:
    before = dpu.mappings()
    three.dma_unmap(0x1000, 4 * PAGE)
    assert dpu.mappings() == before - 3


def test_range_with_gaps(three: Client) -> None:
    three.dma_unmap(0x2000, 2 * PAGE)
    three.dma_unmap(0, 16 * PAGE)
    assert refusal(three, unmapped(0, 16 * PAGE)) == errno.ENOENT


@pytest.mark.parametrize(("address", "pages"), [(0x2000, 1), (0x3000, 1), (0x1000, 2), (0x3000, 2)])
def test_part_of_a_map(three: Client, address: int, pages: int) -> None:
    assert refusal(three, unmapped(address, pages * PAGE)) == errno.EINVAL


def test_what_is_not_mapped(three: Client) -> None:
    assert refusal(three, unmapped(0x10000, PAGE)) == errno.ENOENT


def test_twice(three: Client) -> None:
    three.dma_unmap(0x1000, PAGE)
    assert refusal(three, unmapped(0x1000, PAGE)) == errno.ENOENT


@pytest.mark.usefixtures("no_leak")
def test_everything_at_once(dpu: Dpu, three: Client) -> None:
    before = dpu.mappings()
    three.dma_unmap(0, 0, flags=UNMAP_ALL)
    assert dpu.mappings() == before - 3


WRONG = {
    "no_length": unmapped(0x1000, 0),
    "range_that_wraps": unmapped(0x1000, (1 << 64) - PAGE),
    "dirty_bitmap_that_was_not_offered": unmapped(0x1000, PAGE, flags=DIRTY_BITMAP),
    "everything_and_a_range": unmapped(0x1000, PAGE, flags=UNMAP_ALL),
    "argsz_too_small": unmapped(0x1000, PAGE, argsz=23),
    "short_body": unmapped(0x1000, PAGE)[:-1],
    "no_body": b"",
}


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG.keys())
def test_wrong(three: Client, payload: bytes) -> None:
    assert refusal(three, payload) == errno.EINVAL
