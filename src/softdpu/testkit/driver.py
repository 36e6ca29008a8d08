"""A virtio-net driver over any ``Bus``: what legacy and modern have in common.

>>> with Client(path) as vmm, GuestMemory() as memory:                          # doctest: +SKIP
...     vmm.negotiate()
...     memory.map_into(vmm)
...     with LegacyDriver(vmm, memory) as net:
...         net.start()
...         net.send(frame)
...         answer = net.receive(timeout=1.0)

A driver that has interrupts *waits* for them, so a lost interrupt is an error (``LostInterrupt``) and not a delay.
"""

import abc
import time
from collections.abc import Sequence
from typing import ClassVar, Final, Literal, Self, TypeAlias

from softdpu.spec import features as f
from softdpu.spec import virtio_net
from softdpu.spec.virtio_pci import ACKNOWLEDGE, DRIVER, DRIVER_OK, ISR_CONFIG, NEEDS_RESET, NO_VECTOR
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.pci import Bus, Interrupts, PciFunction
from softdpu.testkit.ring import Buffer, SplitRing
from softdpu.testkit.traffic import Receiver, Transmitter
from softdpu.testkit.wire import Irq

InterruptMode: TypeAlias = Literal["msix", "intx", "none"]
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
ALL_FEATURES: Final = f.mask_of(*NET_FEATURES, *RING_FEATURES)  # what a driver here can make use of
TICK: Final = 0.0005  # s between two looks when there are no interrupts


class NegotiationFailed(Exception):
    """The device did not accept what the driver chose."""


class LostInterrupt(AssertionError):
    """The device used a chain, was asked for an interrupt, and sent none."""


class Driver(abc.ABC):
    """Drives one function. ``wanted`` limits the features taken; counts are descriptors, sizes bytes.

    ``queue_size`` is what a modern driver makes of the queues (0: what the device offers); ``pairs`` are the
    receive/transmit pairs set up; ``buffers`` of ``buffer_size`` bytes, header included, are posted a receive queue.
    What is taken from ``memory`` after ``start`` is given back by ``reset``: each driver has a memory of its own.
    """

    legacy: ClassVar[bool]

    def __init__(
        self,
        bus: Bus,
        memory: GuestMemory,
        *,
        wanted: int = ALL_FEATURES,
        interrupts: InterruptMode = "msix",
        queue_size: int = 0,
        pairs: int = 1,
        buffers: int = 64,
        buffer_size: int = 2048,
    ) -> None:
        self.bus = bus
        self.memory = memory
        self.card = PciFunction(bus)
        self.wanted = wanted
        self.mode = interrupts
        self.queue_size = queue_size
        self.pairs = pairs
        self.buffers = buffers
        self.buffer_size = buffer_size
        self.features = 0
        self.control_queue = 2  # index, known for good once features are negotiated (§5.1.2)
        self.rings: dict[int, SplitRing] = {}
        self.receivers: dict[int, Receiver] = {}
        self.transmitters: dict[int, Transmitter] = {}
        self.interrupts: Interrupts | None = None
        self.msix_on = False
        self.isr = 0  # ISR bits read and not yet asked for
        self._mark = memory.mark()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the eventfds back. The device is not told: see ``stop``."""
        if self.interrupts:
            self.interrupts.close()
            self.interrupts = None

    # ---- what a transport does its own way

    @abc.abstractmethod
    def get(self, register: str) -> int:
        """Read a register of the transport, by its name in ``softdpu.spec``."""

    @abc.abstractmethod
    def set(self, register: str, value: int) -> None:
        """Write a register of the transport, by its name in ``softdpu.spec``."""

    @abc.abstractmethod
    def offered(self) -> int:
        """Feature bits that the device offers."""

    @abc.abstractmethod
    def accept(self, features: int) -> None:
        """Write the driver's feature bits; a modern driver also sees them confirmed. Raises NegotiationFailed."""

    @abc.abstractmethod
    def setup_queue(self, index: int) -> SplitRing:
        """Make a ring for queue ``index`` and tell the device of it. Raises NegotiationFailed."""

    @abc.abstractmethod
    def notify(self, queue: int) -> None:
        """Ring the doorbell of a queue."""

    @abc.abstractmethod
    def read_config(self, offset: int, size: int) -> bytes:
        """Read the device-specific configuration."""

    @abc.abstractmethod
    def read_isr(self) -> int:
        """Read the ISR status, which clears it."""

    @abc.abstractmethod
    def set_vectors(self, config: int, queues: Sequence[tuple[int, int]]) -> None:
        """Give the configuration and each (queue, vector) their MSI-X vectors. Raises NegotiationFailed."""

    # ---- life

    @property
    def status(self) -> int:
        """Device status (§2.1)."""
        return self.get("device_status")

    @status.setter
    def status(self, value: int) -> None:
        self.set("device_status", value)

    def start(self) -> Self:
        """From power-on to DRIVER_OK with filled receive rings (§3.1.1)."""
        self.begin()
        self.negotiate()
        self.setup_interrupts()
        for index in self.queue_indices():
            self.rings[index] = self.setup_queue(index)
        self._assign_vectors()
        for pair in range(self.pairs):
            self.transmitters[pair] = Transmitter(self, 2 * pair + 1)
            self.receivers[pair] = Receiver(self, 2 * pair)
        self.status |= DRIVER_OK
        for receiver in self.receivers.values():
            self.kick(receiver.queue)
        if self.pairs > 1 and self.use_pairs(self.pairs) != virtio_net.OK:
            raise NegotiationFailed(f"the device does not take {self.pairs} pairs")
        return self

    def begin(self) -> None:
        """Enable the function, reset the device, acknowledge it."""
        self.card.enable(io=self.card.has_io_bar, intx=self.mode == "intx")
        self.status = 0
        deadline = time.monotonic() + 5
        while self.status:
            if time.monotonic() > deadline:
                raise NegotiationFailed(f"status is {self.status:#x} 5 s after reset")
        self.status = ACKNOWLEDGE
        self.status = ACKNOWLEDGE | DRIVER

    def negotiate(self) -> int:
        """Take what is offered and wanted; the features in force."""
        self.features = self.offered() & self.wanted
        self.accept(self.features)
        self.control_queue = 2 * self.max_pairs if self.has(f.NET_MQ) else 2
        return self.features

    def has(self, *bits: int) -> bool:
        """Whether these features are in force."""
        return all(self.features >> bit & 1 for bit in bits)

    def reset(self) -> None:
        """Reset the device by its status and forget the rings; ``start`` may follow."""
        self.status = 0
        for held in (self.rings, self.receivers, self.transmitters):
            held.clear()
        self.isr = 0
        self.memory.rewind(self._mark)

    def stop(self) -> None:
        """Leave as a driver does that is unbound: reset, interrupts off."""
        self.reset()
        if self.interrupts:
            self.bus.disable_irqs(self.interrupts.index)
        if self.msix_on:
            self.disable_msix()
        self.close()

    # ---- queues (§5.1.2)

    def queue_indices(self) -> list[int]:
        """Queues that the driver sets up."""
        control = [self.control_queue] if self.has(f.NET_CTRL_VQ) else []
        return [*range(2 * self.pairs), *control]

    def make_ring(self, size: int) -> SplitRing:
        """A ring as negotiated."""
        return SplitRing(self.memory, size, event_index=self.has(f.EVENT_IDX))

    @property
    def header(self) -> int:
        """Bytes of virtio_net_hdr: 12 with num_buffers (§5.1.6.1), 10 without."""
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
        queue = self.control_queue
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
        ring.take()
        self.memory.rewind(mark)
        return self.memory.read(place + len(request), room)

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

    @property
    def needs_reset(self) -> bool:
        """Whether the device has given up on what the driver did (§2.1.2)."""
        return bool(self.status & NEEDS_RESET)

    # ---- interrupts

    def enable_msix(self) -> None:
        """Write MSI-X Enable; a legacy bank then has its vectors."""
        self.card.set_msix(True)
        self.msix_on = True

    def disable_msix(self) -> None:
        """Clear MSI-X Enable."""
        self.card.set_msix(False)
        self.msix_on = False

    def setup_interrupts(self) -> None:
        """Enable MSI-X or INTx at the function, then hand over the eventfds."""
        if self.interrupts or self.mode == "none":
            return
        if self.mode == "msix":
            self.enable_msix()
            self.interrupts = Interrupts(self.bus, Irq.MSIX, self.card.vectors)
        else:
            self.interrupts = Interrupts(self.bus, Irq.INTX, 1)

    def vector(self, queue: int) -> int:
        """MSI-X vector of a queue: 0 is the configuration's, the last is shared when there are too few."""
        return min(1 + queue, self.card.vectors - 1) if self.mode == "msix" else NO_VECTOR

    def _assign_vectors(self) -> None:
        if self.mode == "msix":
            self.set_vectors(0, [(queue, self.vector(queue)) for queue in self.rings])

    def wait_interrupt(self, queue: int, timeout: float = 5.0) -> int:
        """Wait for the interrupt of a queue; how often it came. Raises TimeoutError."""
        interrupts = self._interrupts()
        if self.mode == "msix":
            return interrupts.wait(self.vector(queue), timeout)
        count = interrupts.wait(0, timeout)
        self.isr |= self.read_isr()
        interrupts.unmask()
        return count

    def wait_config_change(self, timeout: float = 5.0) -> None:
        """Wait for the configuration interrupt. Raises TimeoutError."""
        if self.mode == "msix":
            self._interrupts().wait(0, timeout)
            return
        deadline = time.monotonic() + timeout
        while not self.isr & ISR_CONFIG:
            self.wait_interrupt(0, max(0.0, deadline - time.monotonic()))
        self.isr &= ~ISR_CONFIG

    def _interrupts(self) -> Interrupts:
        if self.interrupts is None:
            raise RuntimeError("the driver has no interrupts: it was made without, or is not started")
        return self.interrupts

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
        if self.interrupts is None:
            time.sleep(min(TICK, remaining))
            return
        try:
            self.wait_interrupt(queue, remaining)
        except TimeoutError:
            if self.rings[queue].pending:
                raise LostInterrupt(f"queue {queue} has used chains, and no interrupt came") from None
            raise
