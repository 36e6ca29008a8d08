"""A split virtqueue as its driver sees it (virtio 1.3 §2.7), and as a driver with evil in mind can write it.

The honest half (``add``, ``publish``, ``take``) keeps its own record of every chain and believes nothing that the
device could have written. The other half (``write_descriptor``, ``offer``, ``set_available_index``) writes what it is
told.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from softdpu.testkit.memory import GuestMemory

NEXT: Final = 1  # VIRTQ_DESC_F_NEXT
WRITE: Final = 2  # VIRTQ_DESC_F_WRITE
INDIRECT: Final = 4  # VIRTQ_DESC_F_INDIRECT
NO_INTERRUPT: Final = 1  # VIRTQ_AVAIL_F_NO_INTERRUPT
NO_NOTIFY: Final = 1  # VIRTQ_USED_F_NO_NOTIFY
DESCRIPTOR: Final = struct.Struct("<QIHH")  # address, length, flags, next
LEGACY_ALIGN: Final = 4096  # virtio 1.3 §2.7.2: the legacy used ring starts on the next such boundary


class DeviceBroke(AssertionError):
    """The device wrote something into a ring that the specification forbids."""


class RingFull(Exception):
    """No descriptor is free."""


class Buffer(NamedTuple):
    """One piece of a chain: guest address, bytes, and whether the device writes it."""

    address: int
    length: int
    writable: bool = False


@dataclass(frozen=True)
class Chain:
    """What the driver knows of a chain that the device holds: its descriptors and its buffers."""

    descriptors: tuple[int, ...]
    buffers: tuple[Buffer, ...]

    @property
    def room(self) -> int:
        """Bytes that the device may write."""
        return sum(buffer.length for buffer in self.buffers if buffer.writable)


class SplitRing:
    """A ring of ``size`` descriptors in ``memory``, laid out so that a legacy device takes it as well.

    >>> with GuestMemory(1 << 16) as memory:
    ...     ring = SplitRing(memory, 8)
    ...     head = ring.add([Buffer(memory.allocate(64), 64)])
    ...     ring.publish()
    ...     ring.available_index
    1
    """

    def __init__(self, memory: GuestMemory, size: int, event_index: bool = False) -> None:
        self.memory = memory
        self.size = size
        self.event_index = event_index
        driver_offset = DESCRIPTOR.size * size
        device_offset = -(-(driver_offset + 6 + 2 * size) // LEGACY_ALIGN) * LEGACY_ALIGN
        self.descriptor = memory.allocate(device_offset + 6 + 8 * size, LEGACY_ALIGN)
        self.driver = self.descriptor + driver_offset
        self.device = self.descriptor + device_offset
        self.kicks = 0
        self._kicked = 0  # available index at the last look for a kick
        self._available = 0
        self._used = 0
        self._free = list(range(size - 1, -1, -1))
        self._chains: dict[int, Chain] = {}
        self._tables: dict[int, tuple[int, int]] = {}  # indirect tables by descriptor: address, entries

    # ---- the honest driver

    @property
    def free(self) -> int:
        """Descriptors that are free."""
        return len(self._free)

    @property
    def outstanding(self) -> int:
        """Chains that the device holds."""
        return len(self._chains)

    @property
    def available_index(self) -> int:
        """The available ring's index, as the device reads it."""
        return self.memory.load16(self.driver + 2)

    @property
    def used_index(self) -> int:
        """The used ring's index, as the device wrote it."""
        return self.memory.load16(self.device + 2)

    def add(self, buffers: Sequence[Buffer], indirect: bool = False) -> int:
        """Make a chain of the buffers, readable ones first, and put it on the available ring; its head.

        The device sees it after ``publish``. Raises RingFull.
        """
        needed = 1 if indirect else len(buffers)
        if needed > len(self._free):
            raise RingFull(f"{needed} descriptors wanted, {len(self._free)} of {self.size} free")
        taken = tuple(self._free.pop() for _ in range(needed))
        if indirect:
            self._write_table(taken[0], buffers)
        else:
            self._write_chain(taken, buffers)
        self._chains[taken[0]] = Chain(taken, tuple(buffers))
        self.offer(taken[0])
        return taken[0]

    def _write_chain(self, descriptors: Sequence[int], buffers: Sequence[Buffer]) -> None:
        followers = [*descriptors[1:], None]
        for descriptor, follower, buffer in zip(descriptors, followers, buffers, strict=True):
            self.write_descriptor(descriptor, buffer.address, buffer.length, *_flags(buffer, follower))

    def _write_table(self, descriptor: int, buffers: Sequence[Buffer]) -> None:
        table = self._table(descriptor, len(buffers))
        for index, buffer in enumerate(buffers):
            follower = index + 1 if index + 1 < len(buffers) else None
            entry = DESCRIPTOR.pack(buffer.address, buffer.length, *_flags(buffer, follower))
            self.memory.write(table + index * DESCRIPTOR.size, entry)
        self.write_descriptor(descriptor, table, DESCRIPTOR.size * len(buffers), INDIRECT, 0)

    def _table(self, descriptor: int, entries: int) -> int:
        address, room = self._tables.get(descriptor, (0, 0))
        if room < entries:
            address = self.memory.allocate(DESCRIPTOR.size * entries)
            self._tables[descriptor] = address, entries
        return address

    def publish(self) -> None:
        """Show the device all chains added so far."""
        self.set_available_index(self._available)

    def needs_kick(self) -> bool:
        """Whether the device wants to be notified of what was published since the last call (§2.7.10)."""
        old, self._kicked = self._kicked, self._available
        self.memory.fence()  # §2.7.13.4.1: the index is visible before the suppression is read
        if old == self._available:
            return False
        if not self.event_index:
            return not self.memory.load16(self.device) & NO_NOTIFY
        event = self.memory.load16(self.device + 4 + 8 * self.size)
        return (self._available - event - 1) & 0xFFFF < (self._available - old) & 0xFFFF

    def take(self) -> tuple[Chain, int] | None:
        """The next chain that the device has used and how many bytes it wrote; None when there is none.

        Raises DeviceBroke when the used ring cannot be right.
        """
        waiting = (self.used_index - self._used) & 0xFFFF
        if waiting > len(self._chains):
            raise DeviceBroke(f"used index {self.used_index}: {waiting} new, but the device holds {len(self._chains)}")
        if not waiting:
            return None
        head, written = self.memory.unpack("II", self.device + 4 + 8 * (self._used % self.size))
        chain = self._chains.pop(head, None)
        if chain is None:
            raise DeviceBroke(f"used ring names chain {head}, which the device does not hold")
        if written > chain.room:
            raise DeviceBroke(f"device wrote {written} bytes into a chain with room for {chain.room}")
        self._used = (self._used + 1) & 0xFFFF
        self._free.extend(reversed(chain.descriptors))
        return chain, written

    def want_interrupt(self, wanted: bool = True) -> None:
        """Ask for an interrupt with the next used chain, or for none; look at the ring once more afterwards."""
        if self.event_index:
            event = self._used if wanted else self._used - 1
            self.memory.store16(self.driver + 4 + 2 * self.size, event)
        else:
            self.memory.store16(self.driver, 0 if wanted else NO_INTERRUPT)
        self.memory.fence()

    @property
    def pending(self) -> bool:
        """Whether the device has used a chain that was not taken yet."""
        return self.used_index != self._used

    # ---- the other driver

    def write_descriptor(self, index: int, address: int, length: int, flags: int = 0, following: int = 0) -> None:
        """Write a descriptor of the table, as it is."""
        entry = DESCRIPTOR.pack(address & (1 << 64) - 1, length, flags, following)
        self.memory.write(self.descriptor + index % self.size * DESCRIPTOR.size, entry)

    def offer(self, head: int) -> None:
        """Put a head into the next slot of the available ring, whatever it names."""
        self.memory.store16(self.driver + 4 + 2 * (self._available % self.size), head)
        self._available = (self._available + 1) & 0xFFFF

    def set_available_index(self, value: int) -> None:
        """Write the available ring's index."""
        self.memory.store16(self.driver + 2, value)


def _flags(buffer: Buffer, follower: int | None) -> tuple[int, int]:
    flags = WRITE if buffer.writable else 0
    return (flags, 0) if follower is None else (flags | NEXT, follower)
