"""VFIO_USER_DMA_MAP: guest memory made reachable."""

import errno
import os

import pytest

from softdpu.testkit import Client, GuestMemory, RequestFailed, wire
from softdpu.testkit.wire import PAGE, Op
from tests.dpu_under_test import Dpu

READ, WRITE, FILE_IO = 1, 2, 8


def mapped(address: int = 0, length: int = PAGE, offset: int = 0, flags: int = READ | WRITE) -> bytes:
    return wire.DMA_MAP.pack(argsz=wire.DMA_MAP.size, flags=flags, offset=offset, address=address, length=length)


def refusal(vmm: Client, payload: bytes, *fds: int) -> int | None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.DMA_MAP, payload, fds)
    return refused.value.errno


@pytest.mark.usefixtures("no_leak")
def test_memory_is_mapped_and_its_descriptor_closed(dpu: Dpu, vmm: Client, memory: GuestMemory) -> None:
    fds, mappings = dpu.fds(), dpu.mappings()
    memory.map_into(vmm)
    assert (dpu.fds(), dpu.mappings()) == (fds, mappings + 1)
    memory.unmap_from(vmm)
    assert (dpu.fds(), dpu.mappings()) == (fds, mappings)


def test_reply_has_no_payload(vmm: Client, memory: GuestMemory) -> None:
    assert vmm.request(Op.DMA_MAP, mapped(), [memory.fd]).payload == b""


def test_memory_without_descriptor_is_accepted(vmm: Client) -> None:
    vmm.dma_map(None, address=0xFFFC_0000, length=0x4_0000)


def test_read_only_memory(vmm: Client, memory: GuestMemory) -> None:
    vmm.dma_map(memory.fd, address=0, length=PAGE, flags=READ)


@pytest.mark.parametrize(("address", "length"), [(0x2000, 0x2000), (0x1000, 0x2000), (0x3000, 0x1000), (0, 0x10000)])
def test_over_an_existing_map(vmm: Client, memory: GuestMemory, address: int, length: int) -> None:
    vmm.dma_map(memory.fd, address=0x2000, length=0x2000)
    assert refusal(vmm, mapped(address, length), memory.fd) == errno.EEXIST


def test_beside_an_existing_map(vmm: Client, memory: GuestMemory) -> None:
    vmm.dma_map(memory.fd, address=0x2000, length=0x2000)
    vmm.dma_map(memory.fd, address=0x1000, length=0x1000)
    vmm.dma_map(memory.fd, address=0x4000, length=0x1000)


def test_again_after_unmap(vmm: Client, memory: GuestMemory) -> None:
    for _ in range(3):
        memory.map_into(vmm)
        memory.unmap_from(vmm)


WRONG = {
    "no_length": mapped(length=0),
    "unaligned_address": mapped(address=1),
    "unaligned_offset": mapped(offset=1),
    "unaligned_length": mapped(length=PAGE - 1),
    "beyond_the_end_of_the_file": mapped(offset=4 << 20),
    "offset_that_wraps": mapped(offset=(1 << 64) - PAGE),
    "address_that_wraps": mapped(address=(1 << 64) - PAGE, length=2 * PAGE),
    "length_of_everything": mapped(length=(1 << 64) - PAGE),
    "neither_read_nor_write": mapped(flags=0),
    "unknown_flag": mapped(flags=READ | 1 << 9),
    "argsz_too_small": wire.DMA_MAP.pack(argsz=31, flags=READ, length=PAGE),
    "short_body": mapped()[:-1],
    "no_body": b"",
}


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG.keys())
def test_wrong(vmm: Client, memory: GuestMemory, payload: bytes) -> None:
    assert refusal(vmm, payload, memory.fd) == errno.EINVAL


@pytest.mark.usefixtures("no_leak")
def test_two_descriptors(vmm: Client, memory: GuestMemory) -> None:
    assert refusal(vmm, mapped(), memory.fd, memory.fd) == errno.EINVAL


@pytest.mark.usefixtures("no_leak")
def test_descriptor_that_is_no_memory(vmm: Client) -> None:
    reader, writer = os.pipe()
    assert refusal(vmm, mapped(), reader) == errno.EINVAL
    os.close(reader)
    os.close(writer)


def test_access_by_read_and_write_calls_is_not_offered(vmm: Client, memory: GuestMemory) -> None:
    assert refusal(vmm, mapped(flags=READ | FILE_IO), memory.fd) == errno.EOPNOTSUPP


def test_more_maps_than_agreed(vmm: Client) -> None:
    with Client(vmm.socket.dup()) as same:
        limit = 0
        with pytest.raises(RequestFailed) as refused:
            while True:
                same.dma_map(None, address=limit * PAGE, length=PAGE)
                limit += 1
    assert refused.value.errno == errno.EINVAL
    assert limit >= 4096


@pytest.mark.usefixtures("no_leak")
def test_maps_go_with_the_connection(dpu: Dpu, vmm: Client, memory: GuestMemory) -> None:
    for page in range(50):
        vmm.dma_map(memory.fd, address=2 * page * PAGE, length=PAGE, offset=page * PAGE)
    vmm.close()
