"""Guest memory: pieces, numbers, and what the device is given."""

import mmap
import os

import pytest

from softdpu.testkit import GuestMemory
from softdpu.testkit.memory import OutOfMemory


def test_what_is_written_is_in_the_memfd() -> None:
    with GuestMemory(8192, base=0x1000) as memory, mmap.mmap(memory.fd, 8192) as other:
        memory.write(0x1004, b"guest")
        assert other[4:9] == b"guest"


def test_pieces_are_aligned_zeroed_and_apart() -> None:
    with GuestMemory(65536, base=0x10000) as memory:
        first = memory.allocate(100)
        memory.write(first, b"\xff" * 100)
        second = memory.allocate(10, align=4096)
        assert (first, second) == (0x10000, 0x11000)
        memory.rewind()
        assert memory.read(memory.allocate(100), 100) == bytes(100)


def test_running_out_says_how_much_is_left() -> None:
    with GuestMemory(4096) as memory, pytest.raises(OutOfMemory, match="5000 bytes wanted, 4096 left of 4096"):
        memory.allocate(5000)


@pytest.mark.parametrize(("address", "length"), [(0xFFF, 1), (0x1FFF, 2), (0x2000, 1), (0x1000, -1)])
def test_outside_is_refused(address: int, length: int) -> None:
    with GuestMemory(4096, base=0x1000) as memory, pytest.raises(IndexError):
        memory.read(address, length)


def test_sixteen_bits_are_little_endian() -> None:
    with GuestMemory(4096) as memory:
        memory.store16(memory.base + 2, 0x1_1234)
        assert memory.read(memory.base + 2, 2) == b"\x34\x12"
        assert memory.load16(memory.base + 2) == 0x1234


def test_closing_gives_the_descriptor_back() -> None:
    with GuestMemory(4096) as memory:
        descriptor = memory.fd
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
