"""Frames through rings: what a driver puts before a frame, and how it cuts and gathers (virtio 1.3 §5.1.6)."""

from collections.abc import Sequence
from typing import Protocol

from softdpu.spec import features as f
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.ring import Buffer, DeviceBroke, Ring


class Owner(Protocol):
    """What a receiver and a transmitter need of their driver."""

    memory: GuestMemory
    rings: dict[int, Ring]
    buffers: int
    buffer_size: int

    @property
    def legacy(self) -> bool:
        """Whether it drives the legacy interface."""

    @property
    def header(self) -> int:
        """Bytes of virtio_net_hdr."""

    def has(self, *bits: int) -> bool:
        """Whether these features are in force."""

    def kick(self, queue: int) -> None:
        """Ring the doorbell of a queue if the device wants that."""

    def await_used(self, queue: int, timeout: float) -> None:
        """Wait until the device has used a chain."""


def cut(address: int, lengths: Sequence[int], writable: bool) -> list[Buffer]:
    """Buffers that follow each other in memory."""
    pieces: list[Buffer] = []
    for length in lengths:
        pieces.append(Buffer(address, length, writable))
        address += length
    return pieces


def header_apart(driver: Owner) -> bool:
    """Whether the header must be a descriptor of its own: legacy without ANY_LAYOUT (§2.7.4.3)."""
    return driver.legacy and not driver.has(f.ANY_LAYOUT)


class Transmitter:
    """The driver's end of a transmit queue; its buffers are taken from memory as needed and used again."""

    def __init__(self, driver: Owner, queue: int) -> None:
        self.driver = driver
        self.queue = queue
        self.ring.want_interrupt(False)
        self._spare: list[int] = []

    @property
    def ring(self) -> Ring:
        """The ring in use now; a queue that was reset has a new one."""
        return self.driver.rings[self.queue]

    def add(self, frame: bytes, pieces: Sequence[int], timeout: float, offload: bytes = b"") -> None:
        """Put a frame on the ring; the device sees it after ``flush``. Raises TimeoutError when the ring stays full.

        ``offload`` begins its virtio_net_hdr; without it that is zeros.
        """
        header = self.driver.header
        data = offload.ljust(header, b"\0") + frame
        usual = [header, len(frame)] if header_apart(self.driver) else [len(data)]
        address = self._place(len(data), timeout)
        self.driver.memory.write(address, data)
        indirect = self.driver.has(f.INDIRECT_DESC) and len(pieces) > 1
        self._insist(cut(address, pieces or usual, writable=False), indirect, timeout)
        self.ring.want_interrupt(False)

    def _insist(self, buffers: list[Buffer], indirect: bool, timeout: float) -> None:
        while self.ring.free < (1 if indirect else len(buffers)):
            self._wait(timeout)
        self.ring.add(buffers, indirect)

    def _place(self, size: int, timeout: float) -> int:
        self.reclaim()
        room = self.driver.header + self.driver.buffer_size
        if size > room:
            return self.driver.memory.allocate(size)
        if not self._spare and self.ring.outstanding >= self.driver.buffers:
            self._wait(timeout)
        return self._spare.pop() if self._spare else self.driver.memory.allocate(room)

    def _wait(self, timeout: float) -> None:
        self.flush()
        self.driver.await_used(self.queue, timeout)
        self.reclaim()

    def flush(self) -> None:
        """Publish the frames added and ring the doorbell if the device wants that."""
        self.ring.publish()
        self.driver.kick(self.queue)

    def reclaim(self) -> int:
        """Take back the buffers that the device has used; how many. Raises DeviceBroke when it wrote into one."""
        count = 0
        while taken := self.ring.take():
            chain, written = taken
            if written:
                raise DeviceBroke(f"the device wrote {written} bytes into a transmit buffer")
            self._spare.append(chain.buffers[0].address)
            count += 1
        return count


class Receiver:
    """The driver's end of a receive queue, filled with buffers when made."""

    def __init__(self, driver: Owner, queue: int) -> None:
        self.driver = driver
        self.queue = queue
        self.fill()

    @property
    def ring(self) -> Ring:
        """The ring in use now; a queue that was reset has a new one."""
        return self.driver.rings[self.queue]

    def fill(self) -> None:
        """Post receive buffers."""
        size, header = self.driver.buffer_size, self.driver.header
        apart = header_apart(self.driver) and not self.driver.has(f.NET_MRG_RXBUF)
        lengths = [header, size - header] if apart else [size]
        for _ in range(min(self.driver.buffers, self.ring.size // len(lengths))):
            self.ring.add(cut(self.driver.memory.allocate(size), lengths, writable=True))
        self.ring.publish()

    def receive(self, timeout: float) -> tuple[bytes, bytes]:
        """The next frame: its header and its bytes. Its buffers are posted again."""
        self.driver.await_used(self.queue, timeout)
        size = self.driver.header
        data = self._take()
        header, frame = data[:size], data[size:]
        if len(header) < size:
            raise DeviceBroke(f"the device wrote {len(header)} bytes, less than a header")
        count = int.from_bytes(header[10:12], "little") if self.driver.has(f.NET_MRG_RXBUF) else 1
        frame += b"".join(self._take() for _ in range(count - 1))
        self.ring.publish()
        self.driver.kick(self.queue)
        return header, frame

    def _take(self) -> bytes:
        taken = self.ring.take()
        if taken is None:
            raise DeviceBroke("num_buffers promises more buffers than were used (§5.1.6.4)")
        chain, written = taken
        data = b"".join(self.driver.memory.read(buffer.address, buffer.length) for buffer in chain.buffers)
        self.ring.add(chain.buffers)
        return data[:written]
