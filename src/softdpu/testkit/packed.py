"""A packed virtqueue as its driver sees it (virtio 1.3 §2.8): honest, and with evil in mind, as in ``ring``.

Available and used are bits of each descriptor, set or clear by a wrap counter that flips with every turn of the ring.
"""

import struct
from collections.abc import Sequence
from typing import Final

from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.ring import INDIRECT, NEXT, WRITE, Buffer, Chain, Ring

AVAIL: Final = 1 << 7  # VIRTQ_DESC_F_AVAIL
USED: Final = 1 << 15  # VIRTQ_DESC_F_USED
PACKED_DESCRIPTOR: Final = struct.Struct("<QIHH")  # address, length, id, flags
FLAGS_AT: Final = 14  # offset of the flags in a descriptor
EVENT_ENABLE: Final = 0  # RING_EVENT_FLAGS_*, the second half of an event suppression structure (§2.8.14)
EVENT_DISABLE: Final = 1
EVENT_DESCRIPTOR: Final = 2
WRAP: Final = 1 << 15  # the wrap counter beside a slot, in positions and in event offsets
NOBODY: Final = 0xFFFF  # id of a descriptor that does not end its chain: nothing must read it (§2.8.6)


class PackedRing(Ring):
    """A packed ring of any size up to 32768.

    >>> with GuestMemory(1 << 16) as memory:
    ...     ring = PackedRing(memory, 6)
    ...     name = ring.add([Buffer(memory.allocate(64), 64)])
    ...     ring.publish()
    ...     hex(ring.flags_of(0)), hex(ring.position)
    ('0x80', '0x8001')
    """

    def __init__(self, memory: GuestMemory, size: int, event_index: bool = False, in_order: bool = False) -> None:
        super().__init__(memory, size, event_index, in_order)
        self.descriptor = memory.allocate(PACKED_DESCRIPTOR.size * size, 16)
        self.driver = memory.allocate(4, 4)
        self.device = memory.allocate(4, 4)
        self._slots = size  # free ones
        self._next, self._wrap = 0, True  # where the next chain goes
        self._seen, self._seen_wrap = 0, True  # where the next used descriptor will be
        self._hidden: list[tuple[int, int]] = []  # slot and flags of what is not yet published
        self._kicked = 0  # slots that were published since the last look for a kick

    # ---- the honest driver

    @property
    def free(self) -> int:
        """Descriptors that are free."""
        return self._slots

    @property
    def position(self) -> int:
        """Slot of the next chain, and the wrap counter in bit 15."""
        return self._next | (WRAP if self._wrap else 0)

    @property
    def used_position(self) -> int:
        """Slot of the next used descriptor, and its wrap counter in bit 15; those before it have been taken."""
        return self._seen | (WRAP if self._seen_wrap else 0)

    def flags_of(self, slot: int) -> int:
        """Flags of a descriptor, as they are now."""
        return self.memory.load16(self.descriptor + PACKED_DESCRIPTOR.size * slot + FLAGS_AT)

    def _claim(self, count: int) -> tuple[int, tuple[int, ...]]:
        self._slots -= count
        return self._free.popleft(), tuple((self._next + place) % self.size for place in range(count))

    def _release(self, name: int, chain: Chain) -> None:
        self._slots += len(chain.descriptors)
        self._free.append(name)

    def _describe(self, name: int, descriptors: tuple[int, ...], buffers: Sequence[Buffer]) -> None:
        last = descriptors[-1]
        for slot, buffer in zip(descriptors, buffers, strict=True):
            flags = (WRITE if buffer.writable else 0) | (0 if slot == last else NEXT)
            self._enter(slot, buffer.address, buffer.length, name if slot == last else NOBODY, flags)

    def _describe_table(self, name: int, descriptor: int, buffers: Sequence[Buffer]) -> None:
        table = self._table(name, len(buffers))
        for index, buffer in enumerate(buffers):
            entry = PACKED_DESCRIPTOR.pack(buffer.address, buffer.length, 0, WRITE if buffer.writable else 0)
            self.memory.write(table + index * PACKED_DESCRIPTOR.size, entry)
        self._enter(descriptor, table, PACKED_DESCRIPTOR.size * len(buffers), name, INDIRECT)

    def _enter(self, slot: int, address: int, length: int, identity: int, flags: int) -> None:
        # The flags that were there say "used", or come from an earlier turn: they stay until `publish`.
        start = self.descriptor + PACKED_DESCRIPTOR.size * slot
        self.memory.write(start, PACKED_DESCRIPTOR.pack(address & (1 << 64) - 1, length, identity, 0)[:FLAGS_AT])
        self._hidden.append((slot, flags | self.shown))
        self._advance()

    def _advance(self) -> None:
        self._next += 1
        if self._next == self.size:
            self._next, self._wrap = 0, not self._wrap

    def publish(self) -> None:
        """Show the device all chains added so far: the first one last, so that it never finds half of one (§2.8.21)."""
        for slot, flags in reversed(self._hidden):
            self.memory.store16(self.descriptor + PACKED_DESCRIPTOR.size * slot + FLAGS_AT, flags)
        self._kicked += len(self._hidden)
        self._hidden.clear()

    def needs_kick(self) -> bool:
        """Whether the device wants to be notified of what was published since the last call (§2.8.14)."""
        count, self._kicked = self._kicked, 0
        self.memory.fence()
        offset, flags = self.memory.load16(self.device), self.memory.load16(self.device + 2)
        if not count:
            return False
        if flags != EVENT_DESCRIPTOR or not self.event_index:
            return flags != EVENT_DISABLE
        event = (offset & ~WRAP) - (0 if bool(offset & WRAP) == self._wrap else self.size)
        return (self._next - event - 1) & 0xFFFF < count

    @property
    def _seen_used(self) -> bool:
        flags = self.flags_of(self._seen)
        return bool(flags & AVAIL) == bool(flags & USED) == self._seen_wrap

    def _collect(self) -> None:
        if not self._seen_used:
            return
        place = self.descriptor + PACKED_DESCRIPTOR.size * self._seen
        _, length, name, flags = self.memory.unpack("QIHH", place)
        written = length if flags & WRITE else 0  # without WRITE the length says nothing (§2.8.7)
        self._seen += self._finish(name, written)
        if self._seen >= self.size:
            self._seen, self._seen_wrap = self._seen - self.size, not self._seen_wrap

    def want_interrupt(self, wanted: bool = True) -> None:
        """Ask for an interrupt with the next used chain, or for none; look at the ring once more afterwards."""
        if wanted and self.event_index:
            self.memory.store16(self.driver, self.used_position)
            self.memory.store16(self.driver + 2, EVENT_DESCRIPTOR)
        else:
            self.memory.store16(self.driver + 2, EVENT_ENABLE if wanted else EVENT_DISABLE)
        self.memory.fence()

    @property
    def pending(self) -> bool:
        """Whether the device has used a chain that was not taken yet."""
        return bool(self._done) or self._seen_used

    # ---- the other driver

    @property
    def shown(self) -> int:
        """The flags AVAIL and USED of a descriptor that is made available next."""
        return AVAIL if self._wrap else USED

    def write_descriptor(self, index: int, address: int, length: int, flags: int = 0, following: int = 0) -> None:
        """Write a descriptor as it is, AVAIL and USED among its flags or not; ``following`` is its id."""
        start = self.descriptor + PACKED_DESCRIPTOR.size * (index % self.size)
        self.memory.write(start, PACKED_DESCRIPTOR.pack(address & (1 << 64) - 1, length, following, flags))

    def offer(self, head: int) -> None:
        """Make the descriptor in slot ``head`` available, as if it were the next one; seen after ``publish``."""
        self._hidden.append((head % self.size, self.flags_of(head % self.size) & ~(AVAIL | USED) | self.shown))
        self._advance()
