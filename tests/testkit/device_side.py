"""The device's end of a ring, in its plainest form: what the driver's end is tested against."""

import abc

from softdpu.testkit import Buffer, GuestMemory, PackedRing, Ring
from softdpu.testkit.packed import AVAIL, EVENT_DESCRIPTOR, EVENT_DISABLE, EVENT_ENABLE, USED, WRAP
from softdpu.testkit.ring import INDIRECT, NEXT, NO_NOTIFY, WRITE


class DeviceSide(abc.ABC):
    """Takes chains from a queue at these addresses, and uses them."""

    def __init__(self, memory: GuestMemory, size: int, descriptor: int, driver: int, device: int) -> None:
        self.memory = memory
        self.size = size
        self.descriptor = descriptor
        self.driver = driver
        self.device = device

    @staticmethod
    def of(ring: Ring) -> "DeviceSide":
        """The other end of a driver's ring."""
        kind = PackedSide if isinstance(ring, PackedRing) else SplitSide
        return kind(ring.memory, ring.size, ring.descriptor, ring.driver, ring.device)

    @abc.abstractmethod
    def start_at(self, position: int) -> None:
        """Begin elsewhere than at the beginning."""

    @abc.abstractmethod
    def pop(self) -> tuple[int, list[Buffer]] | None:
        """The next chain: its name and its buffers; None when there is none."""

    @abc.abstractmethod
    def push(self, head: int, written: int) -> None:
        """Use a chain, and with it, unseen, those that ``skip`` named."""

    @abc.abstractmethod
    def skip(self, head: int) -> None:
        """Leave a chain to be implied by the next one that is used (IN_ORDER)."""

    @abc.abstractmethod
    def suppress_kicks(self, on: bool) -> None:
        """Ask for no notifications, or for all."""

    @abc.abstractmethod
    def want_kick(self) -> None:
        """Ask for a notification of the next chain (EVENT_IDX)."""

    def fill(self, data: bytes) -> None:
        """Take the next chain, write ``data`` into its writable buffers, use it."""
        popped = self.pop()
        assert popped, "no chain is available"
        head, buffers = popped
        rest = data
        for buffer in buffers:
            if buffer.writable:
                self.memory.write(buffer.address, rest[: buffer.length])
                rest = rest[buffer.length :]
        self.push(head, len(data) - len(rest))

    def drain(self) -> bytes | None:
        """Take the next chain, read its readable buffers, use it; None when there is none."""
        popped = self.pop()
        if popped is None:
            return None
        head, buffers = popped
        self.push(head, 0)
        return b"".join(self.memory.read(b.address, b.length) for b in buffers if not b.writable)


class SplitSide(DeviceSide):
    """Of a split ring (§2.7)."""

    taken = used = implied = 0

    def start_at(self, position: int) -> None:
        self.taken = self.used = position

    def pop(self) -> tuple[int, list[Buffer]] | None:
        if self.taken == self.memory.load16(self.driver + 2):
            return None
        head = self.memory.load16(self.driver + 4 + 2 * (self.taken % self.size))
        self.taken = (self.taken + 1) & 0xFFFF
        return head, self._chain(self.descriptor, head)

    def _chain(self, table: int, index: int) -> list[Buffer]:
        found: list[Buffer] = []
        while True:
            address, length, flags, following = self.memory.unpack("QIHH", table + 16 * index)
            if flags & INDIRECT:
                return self._chain(address, 0)
            found.append(Buffer(address, length, bool(flags & WRITE)))
            if not flags & NEXT:
                return found
            index = following

    def push(self, head: int, written: int) -> None:
        self.memory.pack("II", self.device + 4 + 8 * (self.used % self.size), head, written)
        self.used = (self.used + 1 + self.implied) & 0xFFFF
        self.implied = 0
        self.memory.store16(self.device + 2, self.used)

    def skip(self, head: int) -> None:
        self.implied += 1

    def suppress_kicks(self, on: bool) -> None:
        self.memory.store16(self.device, NO_NOTIFY if on else 0)

    def want_kick(self) -> None:
        self.set_kick_event(self.taken)

    def set_kick_event(self, index: int) -> None:
        """Ask for a notification when the available index passes ``index``."""
        self.memory.store16(self.device + 4 + 8 * self.size, index)


class PackedSide(DeviceSide):
    """Of a packed ring (§2.8)."""

    taken, taken_wrap, used, used_wrap, implied = 0, True, 0, True, 0

    def __init__(self, memory: GuestMemory, size: int, descriptor: int, driver: int, device: int) -> None:
        super().__init__(memory, size, descriptor, driver, device)
        self._slots: dict[int, int] = {}  # of the chains popped, by name

    def start_at(self, position: int) -> None:
        self.taken = self.used = position & ~WRAP
        self.taken_wrap = self.used_wrap = bool(position & WRAP)

    def pop(self) -> tuple[int, list[Buffer]] | None:
        flags = self.memory.load16(self._at(self.taken) + 14)
        if bool(flags & AVAIL) != self.taken_wrap or bool(flags & USED) == self.taken_wrap:
            return None
        found: list[Buffer] = []
        slots = 0
        while True:
            address, length, name, flags = self.memory.unpack("QIHH", self._at(self.taken))
            self.taken, self.taken_wrap = self._after(self.taken, self.taken_wrap, 1)
            slots += 1
            found += self._pieces(address, length, flags)
            if not flags & NEXT:
                self._slots[name] = slots
                return name, found

    def _pieces(self, address: int, length: int, flags: int) -> list[Buffer]:
        if not flags & INDIRECT:
            return [Buffer(address, length, bool(flags & WRITE))]
        entries = [self.memory.unpack("QIHH", place) for place in range(address, address + length, 16)]
        return [Buffer(at, size, bool(bits & WRITE)) for at, size, _, bits in entries]

    def push(self, head: int, written: int) -> None:
        bits = (AVAIL | USED if self.used_wrap else 0) | (WRITE if written else 0)
        self.memory.pack("IH", self._at(self.used) + 8, written, head)
        self.memory.store16(self._at(self.used) + 14, bits)
        slots, self.implied = self._slots.pop(head, 1) + self.implied, 0
        self.used, self.used_wrap = self._after(self.used, self.used_wrap, slots)

    def skip(self, head: int) -> None:
        self.implied += self._slots.pop(head)

    def suppress_kicks(self, on: bool) -> None:
        self.memory.store16(self.device + 2, EVENT_DISABLE if on else EVENT_ENABLE)

    def want_kick(self) -> None:
        self.memory.store16(self.device, self.taken | (WRAP if self.taken_wrap else 0))
        self.memory.store16(self.device + 2, EVENT_DESCRIPTOR)

    def _at(self, slot: int) -> int:
        return self.descriptor + 16 * slot

    def _after(self, slot: int, wrap: bool, count: int) -> tuple[int, bool]:
        return (slot + count, wrap) if slot + count < self.size else (slot + count - self.size, not wrap)
