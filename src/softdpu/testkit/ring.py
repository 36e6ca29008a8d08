"""Virtqueues as their driver sees them: what both layouts have in common, and the split one (virtio 1.3 §2.7).

The honest half (``add``, ``publish``, ``take``) keeps its own record of every chain and believes nothing that the
device could have written. The other half (``write_descriptor``, ``offer``, ``set_available_index``) is for a driver
with evil in mind: it writes what it is told. The packed layout is in ``softdpu.testkit.packed``.
"""

import abc
import struct
from collections import deque
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


class Ring(abc.ABC):
    """A ring of ``size`` descriptors in ``memory``; its three parts are at ``descriptor``, ``driver`` and ``device``.

    ``event_index`` and ``in_order`` are the features EVENT_IDX and IN_ORDER, as negotiated.
    """

    descriptor: int
    driver: int
    device: int

    def __init__(self, memory: GuestMemory, size: int, event_index: bool = False, in_order: bool = False) -> None:
        self.memory = memory
        self.size = size
        self.event_index = event_index
        self.in_order = in_order
        self.kicks = 0
        self._free = deque(range(size))  # what names a chain: its first descriptor, or its id
        self._chains: dict[int, Chain] = {}  # those that the device holds, in the order they were made available
        self._done: deque[tuple[Chain, int]] = deque()  # used, and not yet taken
        self._tables: dict[int, tuple[int, int]] = {}  # indirect tables by the chain's name: address, entries

    # ---- the honest driver

    @property
    @abc.abstractmethod
    def free(self) -> int:
        """Descriptors that are free."""

    @property
    def outstanding(self) -> int:
        """Chains that the device holds."""
        return len(self._chains)

    @property
    @abc.abstractmethod
    def position(self) -> int:
        """Where the next chain will be made available, as NOTIFICATION_DATA has it (§2.9).

        That is the available index of a split ring, and slot | wrap counter << 15 of a packed one.
        """

    def add(self, buffers: Sequence[Buffer], indirect: bool = False) -> int:
        """Make a chain of the buffers, readable ones first, in the descriptors that come next; its name in the ring.

        The device sees it after ``publish``. Raises RingFull.
        """
        needed = 1 if indirect else len(buffers)
        if needed > self.free:
            raise RingFull(f"{needed} descriptors wanted, {self.free} of {self.size} free")
        name, descriptors = self._claim(needed)
        if indirect:
            self._describe_table(name, descriptors[0], buffers)
        else:
            self._describe(name, descriptors, buffers)
        self._chains[name] = Chain(descriptors, tuple(buffers))
        return name

    @abc.abstractmethod
    def _claim(self, count: int) -> tuple[int, tuple[int, ...]]:
        """Take descriptors for a chain: its name, and their indices."""

    @abc.abstractmethod
    def _describe(self, name: int, descriptors: tuple[int, ...], buffers: Sequence[Buffer]) -> None:
        """Write a chain into these descriptors and enter it in the ring, unseen."""

    @abc.abstractmethod
    def _describe_table(self, name: int, descriptor: int, buffers: Sequence[Buffer]) -> None:
        """Write an indirect table and the descriptor that refers to it, and enter it in the ring, unseen."""

    def _table(self, name: int, entries: int) -> int:
        address, room = self._tables.get(name, (0, 0))
        if room < entries:
            address = self.memory.allocate(DESCRIPTOR.size * entries)
            self._tables[name] = address, entries
        return address

    @abc.abstractmethod
    def publish(self) -> None:
        """Show the device all chains added so far."""

    @abc.abstractmethod
    def needs_kick(self) -> bool:
        """Whether the device wants to be notified of what was published since the last call."""

    @abc.abstractmethod
    def want_interrupt(self, wanted: bool = True) -> None:
        """Ask for an interrupt with the next used chain, or for none; look at the ring once more afterwards."""

    @property
    @abc.abstractmethod
    def pending(self) -> bool:
        """Whether the device has used a chain that was not taken yet."""

    def take(self) -> tuple[Chain, int] | None:
        """The next chain that the device has used and how many bytes it wrote; None when there is none.

        Chains that an in-order device passed over count as written to the last byte (§2.7.9, §2.8.10).
        Raises DeviceBroke when what the device wrote into the ring cannot be right.
        """
        if not self._done:
            self._collect()
        return self._done.popleft() if self._done else None

    @abc.abstractmethod
    def _collect(self) -> None:
        """Read the next used element, if there is one, and give it to ``_finish``."""

    def _finish(self, name: int, written: int) -> int:
        """The device named this chain as used: it and those that it implies are done; how many descriptors they had."""
        if name not in self._chains:
            raise DeviceBroke(f"used ring names chain {name}, which the device does not hold")
        if written > self._chains[name].room:
            raise DeviceBroke(f"device wrote {written} bytes into a chain with room for {self._chains[name].room}")
        names = list(self._chains)
        batch = names[: names.index(name) + 1] if self.in_order else [name]
        chains = [self._chains.pop(one) for one in batch]
        self._done.extend((chain, chain.room) for chain in chains[:-1])
        self._done.append((chains[-1], written))
        for one, chain in zip(batch, chains, strict=True):
            self._release(one, chain)
        return sum(len(chain.descriptors) for chain in chains)

    @abc.abstractmethod
    def _release(self, name: int, chain: Chain) -> None:
        """The descriptors of a chain are free again."""

    # ---- the other driver

    @abc.abstractmethod
    def write_descriptor(self, index: int, address: int, length: int, flags: int = 0, following: int = 0) -> None:
        """Write a descriptor of the ring, as it is; ``following`` is its next, or its id in a packed ring."""

    @abc.abstractmethod
    def offer(self, head: int) -> None:
        """Enter a descriptor in the ring as the next one made available, whatever it is; seen after ``publish``."""


class SplitRing(Ring):
    """A split ring, laid out so that a legacy device takes it as well.

    >>> with GuestMemory(1 << 16) as memory:
    ...     ring = SplitRing(memory, 8)
    ...     head = ring.add([Buffer(memory.allocate(64), 64)])
    ...     ring.publish()
    ...     ring.available_index
    1
    """

    def __init__(self, memory: GuestMemory, size: int, event_index: bool = False, in_order: bool = False) -> None:
        super().__init__(memory, size, event_index, in_order)
        driver_offset = DESCRIPTOR.size * size
        device_offset = -(-(driver_offset + 6 + 2 * size) // LEGACY_ALIGN) * LEGACY_ALIGN
        self.descriptor = memory.allocate(device_offset + 6 + 8 * size, LEGACY_ALIGN)
        self.driver = self.descriptor + driver_offset
        self.device = self.descriptor + device_offset
        self._kicked = 0  # available index at the last look for a kick
        self._available = 0
        self._used = 0

    @property
    def free(self) -> int:
        """Descriptors that are free."""
        return len(self._free)

    @property
    def position(self) -> int:
        """The available index that the device will see next."""
        return self._available

    @property
    def available_index(self) -> int:
        """The available ring's index, as the device reads it."""
        return self.memory.load16(self.driver + 2)

    @property
    def used_index(self) -> int:
        """The used ring's index, as the device wrote it."""
        return self.memory.load16(self.device + 2)

    def _claim(self, count: int) -> tuple[int, tuple[int, ...]]:
        taken = tuple(self._free.popleft() for _ in range(count))
        return taken[0], taken

    def _release(self, name: int, chain: Chain) -> None:
        # In order the table is gone through from end to end, over and over (§2.7.9); else what is warm is used again.
        (self._free.extend if self.in_order else self._free.extendleft)(chain.descriptors)

    def _describe(self, name: int, descriptors: tuple[int, ...], buffers: Sequence[Buffer]) -> None:
        followers = [*descriptors[1:], None]
        for descriptor, follower, buffer in zip(descriptors, followers, buffers, strict=True):
            self.write_descriptor(descriptor, buffer.address, buffer.length, *_flags(buffer, follower))
        self.offer(name)

    def _describe_table(self, name: int, descriptor: int, buffers: Sequence[Buffer]) -> None:
        table = self._table(name, len(buffers))
        for index, buffer in enumerate(buffers):
            follower = index + 1 if index + 1 < len(buffers) else None
            entry = DESCRIPTOR.pack(buffer.address, buffer.length, *_flags(buffer, follower))
            self.memory.write(table + index * DESCRIPTOR.size, entry)
        self.write_descriptor(descriptor, table, DESCRIPTOR.size * len(buffers), INDIRECT, 0)
        self.offer(name)

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

    def _collect(self) -> None:
        waiting = (self.used_index - self._used) & 0xFFFF
        if waiting > len(self._chains):
            raise DeviceBroke(f"used index {self.used_index}: {waiting} new, but the device holds {len(self._chains)}")
        if waiting:
            before = len(self._chains)
            head, written = self.memory.unpack("II", self.device + 4 + 8 * (self._used % self.size))
            self._finish(head, written)
            count = before - len(self._chains)
            if count > waiting:
                raise DeviceBroke(f"used ring names the {count}. chain in order, but its index says {waiting}")
            self._used = (self._used + count) & 0xFFFF

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
        return bool(self._done) or self.used_index != self._used

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
