"""A virtio-net driver above its transport: rings, frames, commands, configuration.

What carries the rest is in ``driver`` (a PCI function) and ``vhost_driver`` (a vhost-user back end).
"""

import abc
import time
from collections.abc import Sequence
from typing import Final, Self

from softdpu.spec import features as f
from softdpu.spec import virtio_net
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.packed import PackedRing
from softdpu.testkit.ring import Buffer, Ring, SplitRing
from softdpu.testkit.traffic import Receiver, Transmitter

NET_FEATURES: Final = (
    f.NET_MTU,
    f.NET_MAC,
    f.NET_MRG_RXBUF,
    f.NET_STATUS,
    f.NET_CTRL_VQ,
    f.NET_CTRL_RX,
    f.NET_CTRL_VLAN,
    f.NET_CTRL_RX_EXTRA,
    f.NET_GUEST_ANNOUNCE,
    f.NET_MQ,
    f.NET_CTRL_MAC_ADDR,
    f.NET_SPEED_DUPLEX,
)
RING_FEATURES: Final = (f.ANY_LAYOUT, f.INDIRECT_DESC, f.EVENT_IDX, f.VERSION_1, f.RING_RESET)
ALL_FEATURES: Final = f.mask_of(*NET_FEATURES, *RING_FEATURES)  # what a driver here takes unless told otherwise
PACKED: Final = f.mask_of(f.RING_PACKED)  # to be added to what is wanted, as are the next three
IN_ORDER: Final = f.mask_of(f.IN_ORDER)
NOTIFICATION_DATA: Final = f.mask_of(f.NOTIFICATION_DATA)
ADMIN_VQ: Final = f.mask_of(f.ADMIN_VQ)
TICK: Final = 0.0005  # s between two looks when there are no interrupts
GRACE: Final = 2.0  # s for an interrupt to follow what was used just as the wait for it ended


class NegotiationFailed(Exception):
    """The device did not accept what the driver chose."""


class LostInterrupt(AssertionError):
    """The device used a chain, was asked for an interrupt, and sent none."""


class NetDriver(abc.ABC):
    """Drives one network device. ``wanted`` limits the features taken; counts are descriptors, sizes bytes.

    ``queue_size`` is what the driver makes of the queues where it may choose (0: what the device offers); ``pairs`` are
    the receive/transmit pairs set up; ``buffers`` of ``buffer_size`` bytes, header included, are posted a receive
    queue.
    What is taken from ``memory`` after ``start`` is given back by ``reset``: each driver has a memory of its own.
    """

    def __init__(
        self,
        memory: GuestMemory,
        *,
        wanted: int = ALL_FEATURES,
        queue_size: int = 0,
        pairs: int = 1,
        buffers: int = 64,
        buffer_size: int = 2048,
    ) -> None:
        self.memory = memory
        self.wanted = wanted
        self.queue_size = queue_size
        self.pairs = pairs
        self.buffers = buffers
        self.buffer_size = buffer_size
        self.features = 0
        self.control_queue = 2  # index, known for good once features are negotiated (§5.1.2)
        self.rings: dict[int, Ring] = {}
        self.receivers: dict[int, Receiver] = {}
        self.transmitters: dict[int, Transmitter] = {}
        self._mark = memory.mark()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- what a transport does its own way

    @abc.abstractmethod
    def close(self) -> None:
        """Give descriptors back. The device is not told."""

    @property
    @abc.abstractmethod
    def legacy(self) -> bool:
        """Whether the device is driven by the legacy rules."""

    @abc.abstractmethod
    def offered(self) -> int:
        """Feature bits that the device offers."""

    @abc.abstractmethod
    def accept(self, features: int) -> None:
        """Tell the device the driver's feature bits. Raises NegotiationFailed."""

    @abc.abstractmethod
    def setup_queue(self, index: int) -> Ring:
        """Make a ring for queue ``index`` and tell the device of it. Raises NegotiationFailed."""

    @abc.abstractmethod
    def notify(self, queue: int) -> None:
        """Tell the device to look at a queue, whether it asked for that or not."""

    @abc.abstractmethod
    def read_config(self, offset: int, size: int) -> bytes:
        """Read the device-specific configuration."""

    @abc.abstractmethod
    def wait_interrupt(self, queue: int, timeout: float = 5.0) -> int:
        """Wait for the interrupt of a queue; how often it came. Raises TimeoutError."""

    @property
    @abc.abstractmethod
    def interrupted(self) -> bool:
        """Whether the device can interrupt; otherwise rings are looked at again and again."""

    # ---- life

    def negotiate(self) -> int:
        """Take what is offered and wanted; the features in force."""
        self.features = self.offered() & self.wanted
        self.accept(self.features)
        several = self.has(f.NET_CTRL_VQ) and (self.has(f.NET_MQ) or self.has(f.NET_RSS))
        self.control_queue = 2 * self.max_pairs if several else 2
        return self.features

    def has(self, *bits: int) -> bool:
        """Whether these features are in force."""
        return all(self.features >> bit & 1 for bit in bits)

    def fill(self) -> None:
        """Make the ends of all pairs whose rings are set up; receive buffers are posted, and not yet announced."""
        for pair in range(self.pairs):
            self.transmitters[pair] = Transmitter(self, 2 * pair + 1)
            self.receivers[pair] = Receiver(self, 2 * pair)

    def forget(self) -> None:
        """Forget the rings, which the device has let go of, and all that was in them."""
        for held in (self.rings, self.receivers, self.transmitters):
            held.clear()
        self.memory.rewind(self._mark)

    def remembered_by(self, memory: GuestMemory) -> None:
        """The guest's memory is another now, with all that was in the former one."""
        self.memory = memory
        for ring in self.rings.values():
            ring.memory = memory

    # ---- queues (§5.1.2)

    def queue_indices(self) -> list[int]:
        """Queues that the driver sets up."""
        control = [self.control_queue] if self.has(f.NET_CTRL_VQ) else []
        return [*range(2 * self.pairs), *control]

    def make_ring(self, size: int) -> Ring:
        """A ring as negotiated."""
        kind = PackedRing if self.has(f.RING_PACKED) else SplitRing
        return kind(self.memory, size, event_index=self.has(f.EVENT_IDX), in_order=self.has(f.IN_ORDER))

    def split(self, queue: int) -> SplitRing:
        """A queue's ring, known to be split."""
        ring = self.rings[queue]
        assert isinstance(ring, SplitRing)
        return ring

    def packed(self, queue: int) -> PackedRing:
        """A queue's ring, known to be packed."""
        ring = self.rings[queue]
        assert isinstance(ring, PackedRing)
        return ring

    @property
    def header(self) -> int:
        """Bytes of virtio_net_hdr: 12 with num_buffers (§5.1.6.1), 10 without, 20 with a hash."""
        if self.has(f.NET_HASH_REPORT):
            return virtio_net.HASH_HEADER
        short = self.legacy and not self.has(f.NET_MRG_RXBUF)
        return virtio_net.LEGACY_HEADER if short else virtio_net.HEADER

    def kick(self, queue: int) -> None:
        """Ring the doorbell of a queue if the device wants that."""
        ring = self.rings[queue]
        if ring.needs_kick():
            ring.kicks += 1
            self.notify(queue)

    # ---- frames

    def send(
        self, frame: bytes, pair: int = 0, pieces: Sequence[int] = (), timeout: float = 5.0, offload: bytes = b""
    ) -> None:
        """Send a frame; ``pieces`` are the lengths into which header and frame together are cut.

        ``offload`` is what its virtio_net_hdr begins with, such as ``virtio_net.OFFLOAD.pack(...)`` (§5.1.6.2).

        Returns when the device has been told, not when it has sent. Raises TimeoutError when the ring stays full.
        """
        self.transmitters[pair].add(frame, pieces, timeout, offload)
        self.transmitters[pair].flush()

    def send_batch(self, frames: Sequence[bytes], pair: int = 0, timeout: float = 5.0) -> None:
        """Send frames with one notification, or as many as the ring needs."""
        for frame in frames:
            self.transmitters[pair].add(frame, (), timeout)
        self.transmitters[pair].flush()

    def receive(self, timeout: float = 5.0, pair: int = 0) -> bytes:
        """The next frame, without its header. Raises TimeoutError, LostInterrupt, DeviceBroke."""
        return self.receivers[pair].receive(timeout)[1]

    def receive_with_header(self, timeout: float = 5.0, pair: int = 0) -> tuple[bytes, bytes]:
        """The next frame: its virtio_net_hdr and its bytes."""
        return self.receivers[pair].receive(timeout)

    def drain(self, quiet: float = 0.05, pair: int = 0) -> list[bytes]:
        """All frames that come until none has come for ``quiet`` seconds."""
        frames: list[bytes] = []
        while True:
            try:
                frames.append(self.receive(quiet, pair))
            except TimeoutError:
                return frames

    # ---- control virtqueue (§5.1.6.5)

    def control(self, class_: int, command: int, data: bytes = b"", timeout: float = 5.0) -> bytes:
        """Send a command and wait for its ack byte: ``virtio_net.OK``, ``virtio_net.ERR`` or what came."""
        return self.control_raw(bytes([class_, command]) + data, timeout=timeout)

    def control_raw(self, request: bytes, room: int = 1, timeout: float = 5.0) -> bytes:
        """Send any bytes on the control queue, with ``room`` bytes for the answer; what is in that room then."""
        return self.exchange(self.control_queue, request, room, timeout)[0]

    def exchange(self, queue: int, request: bytes, room: int, timeout: float = 5.0) -> tuple[bytes, int]:
        """Send a command on any queue: what is in its room then, and how many bytes the device says it wrote."""
        ring = self.rings[queue]
        mark = self.memory.mark()
        place = self.memory.allocate(len(request) + room + 2)
        self.memory.write(place, request + b"\xff" * room)
        readable = [Buffer(place, len(request))] if request else []
        writable = [Buffer(place + len(request), room, writable=True)] if room else []
        ring.add([*readable, *writable])
        ring.publish()
        self.kick(queue)
        self.await_used(queue, timeout)
        taken = ring.take()
        self.memory.rewind(mark)
        return self.memory.read(place + len(request), room), taken[1] if taken else 0

    def use_pairs(self, pairs: int) -> bytes:
        """Tell the device how many pairs to use; the ack byte."""
        return self.control(virtio_net.CTRL_MQ, virtio_net.CTRL_MQ_VQ_PAIRS_SET, pairs.to_bytes(2, "little"))

    # ---- configuration

    def config(self, name: str) -> int:
        """A number of the device configuration, by its name in ``softdpu.spec.virtio_net.CONFIG``."""
        register = virtio_net.CONFIG.named[name]
        return int.from_bytes(self.read_config(register.offset, register.size), "little")

    @property
    def mac(self) -> bytes:
        """The device's MAC address."""
        return self.read_config(virtio_net.CONFIG.offset("mac"), virtio_net.MAC_BYTES)

    @property
    def mtu(self) -> int:
        """The device's MTU (feature MTU)."""
        return self.config("mtu")

    @property
    def max_pairs(self) -> int:
        """Pairs that the device has (feature MQ)."""
        return self.config("max_virtqueue_pairs")

    @property
    def link_up(self) -> bool:
        """Whether the link is up (feature STATUS)."""
        return bool(self.config("status") & virtio_net.LINK_UP)

    def await_used(self, queue: int, timeout: float) -> None:
        """Wait until the device has used a chain of a queue. Raises TimeoutError, LostInterrupt."""
        ring = self.rings[queue]
        deadline = time.monotonic() + timeout
        if not ring.pending:
            ring.want_interrupt(True)
        while not ring.pending:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"the device used no chain of queue {queue} within {timeout} s")
            self._sleep(queue, remaining)

    def _sleep(self, queue: int, remaining: float) -> None:
        if not self.interrupted:
            time.sleep(min(TICK, remaining))
            return
        try:
            self.wait_interrupt(queue, remaining)
        except TimeoutError:
            if not self.rings[queue].pending:
                raise
            self._insist_on_interrupt(queue)

    def _insist_on_interrupt(self, queue: int) -> None:
        """A chain was used when the wait had ended: its interrupt must follow."""
        try:
            self.wait_interrupt(queue, GRACE)
        except TimeoutError:
            raise LostInterrupt(f"queue {queue} has used chains, and no interrupt came") from None
