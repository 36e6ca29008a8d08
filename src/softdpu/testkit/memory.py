"""Guest memory: a memfd, mapped here and mapped into the device, with a place to take pieces from.

>>> memory = GuestMemory(1 << 20, base=0x4000_0000)
>>> place = memory.allocate(64)
>>> memory.write(place, b"hello")
>>> memory.read(place, 5)
b'hello'
>>> memory.close()
"""

import mmap
import os
import struct
import threading
from typing import Final, Protocol, Self

from softdpu.testkit.wire import PAGE, MapFlag

BASE: Final = 0x1_0000_0000  # above 4 GiB, so that a truncated address does not work by luck


class DmaTarget(Protocol):
    """What takes guest memory: a ``Client``."""

    def dma_map(self, fd: int | None, address: int, length: int, offset: int = 0, flags: int = ...) -> None:
        """Let the device reach it."""

    def dma_unmap(self, address: int, length: int) -> None:
        """Take it back."""


class OutOfMemory(MemoryError):
    """The guest memory has no such piece left."""


class GuestMemory:
    """``size`` bytes of shared memory (a multiple of 4096) which the device sees at address ``base``.

    Addresses in all calls are the device's. An address outside raises IndexError.
    """

    def __init__(self, size: int = 4 << 20, base: int = BASE) -> None:
        self.size = size
        self.base = base
        self.fd = os.memfd_create("guest", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        self._bytes = memoryview(self._map)
        self._halves = self._bytes.cast("H")
        self._next = 0
        self._fence = threading.Lock()
        self._log: set[int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back; a device that still has it mapped keeps it."""
        self._halves.release()
        self._bytes.release()
        self._map.close()
        os.close(self.fd)

    # ---- pieces

    def allocate(self, size: int, align: int = 16) -> int:
        """Address of a fresh piece, all zero. Raises OutOfMemory. Pieces are given back by ``rewind`` alone."""
        start = -(-(self.base + self._next) // align) * align - self.base
        if start + size > self.size:
            raise OutOfMemory(f"{size} bytes wanted, {self.size - start} left of {self.size}")
        self._next = start + size
        self._bytes[start : start + size] = bytes(size)
        self._wrote(start, size)
        return self.base + start

    def mark(self) -> int:
        """Where the next piece begins, for ``rewind``."""
        return self._next

    def rewind(self, mark: int = 0) -> None:
        """Give back all pieces taken since ``mark``."""
        self._next = mark

    # ---- content

    def _offset(self, address: int, length: int) -> int:
        offset = address - self.base
        if offset < 0 or length < 0 or offset + length > self.size:
            raise IndexError(f"{length} bytes at {address:#x} are outside {self.base:#x}+{self.size:#x}")
        return offset

    def read(self, address: int, length: int) -> bytes:
        """A copy of what is there."""
        offset = self._offset(address, length)
        return bytes(self._bytes[offset : offset + length])

    def write(self, address: int, data: bytes) -> None:
        """Put bytes there."""
        offset = self._offset(address, len(data))
        self._bytes[offset : offset + len(data)] = data
        self._wrote(offset, len(data))

    def unpack(self, code: str, address: int) -> tuple[int, ...]:
        """Little-endian numbers, by their struct code."""
        return struct.unpack_from("<" + code, self._bytes, self._offset(address, struct.calcsize("<" + code)))

    def pack(self, code: str, address: int, *values: int) -> None:
        """Write little-endian numbers; not in one store, so not for ring indices."""
        offset = self._offset(address, struct.calcsize("<" + code))
        struct.pack_into("<" + code, self._bytes, offset, *values)
        self._wrote(offset, struct.calcsize("<" + code))

    def load16(self, address: int) -> int:
        """A 16-bit number, read in one load."""
        return self._halves[self._offset(address, 2) // 2]

    def store16(self, address: int, value: int) -> None:
        """A 16-bit number, written in one store: the other side never sees half of it."""
        offset = self._offset(address, 2)
        self._halves[offset // 2] = value & 0xFFFF
        self._wrote(offset, 2)

    def fence(self) -> None:
        """Order stores before it against loads after it (taking a lock is a full barrier)."""
        with self._fence:
            pass

    # ---- moves

    def twin(self) -> "GuestMemory":
        """Another one, of the same size at the same address. Nothing is in it, and no piece is taken."""
        return GuestMemory(self.size, self.base)

    def start_log(self) -> None:
        """Remember from now on which pages are written here: by the guest, not by the device."""
        self._log = set()

    def take_log(self) -> set[int]:
        """The addresses of the pages that were written since the last call."""
        written = set()
        while self._log:  # which others may add to
            written.add(self.base + self._log.pop() * PAGE)
        return written

    def stop_log(self) -> None:
        """Remember no more."""
        self._log = None

    def _wrote(self, offset: int, length: int) -> None:
        if self._log is not None and length:
            self._log.update(range(offset // PAGE, (offset + length - 1) // PAGE + 1))

    # ---- the device

    def map_into(self, device: DmaTarget, flags: int = MapFlag.READ | MapFlag.WRITE) -> None:
        """Let the device reach all of it."""
        device.dma_map(self.fd, address=self.base, length=self.size, flags=flags)

    def unmap_from(self, device: DmaTarget) -> None:
        """Take all of it back."""
        device.dma_unmap(address=self.base, length=self.size)
