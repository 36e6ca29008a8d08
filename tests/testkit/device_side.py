"""The device's end of a split ring, in its plainest form: what the driver's end is tested against."""

from softdpu.testkit import Buffer, GuestMemory, SplitRing
from softdpu.testkit.ring import INDIRECT, NEXT, NO_NOTIFY, WRITE


class DeviceSide:
    """Takes chains from the available ring of a queue at these addresses, and puts them on its used ring."""

    def __init__(self, memory: GuestMemory, size: int, descriptor: int, driver: int, device: int) -> None:
        self.memory = memory
        self.size = size
        self.descriptor = descriptor
        self.driver = driver
        self.device = device
        self.taken = 0
        self.used = 0

    @classmethod
    def of(cls, ring: SplitRing) -> "DeviceSide":
        """The other end of a driver's ring."""
        return cls(ring.memory, ring.size, ring.descriptor, ring.driver, ring.device)

    def pop(self) -> tuple[int, list[Buffer]] | None:
        """The next chain: its head and its buffers; None when there is none."""
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
        """Use a chain."""
        self.memory.pack("II", self.device + 4 + 8 * (self.used % self.size), head, written)
        self.used = (self.used + 1) & 0xFFFF
        self.memory.store16(self.device + 2, self.used)

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

    def suppress_kicks(self, on: bool) -> None:
        """Set or clear VIRTQ_USED_F_NO_NOTIFY."""
        self.memory.store16(self.device, NO_NOTIFY if on else 0)

    def set_kick_event(self, index: int) -> None:
        """Ask for a notification when the available index passes ``index`` (EVENT_IDX)."""
        self.memory.store16(self.device + 4 + 8 * self.size, index)
