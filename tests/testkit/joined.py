"""A function and a driver joined in memory: no sockets, no other process.

``Joined`` carries out a function's effects in plain Python, as the datapath does in its own process, and is the ``Bus``
of the drivers in ``softdpu.testkit``. With ``restless`` the function is rebuilt from its state before every call, so
whatever a controller would lose in a restart is lost here, at the worst moments.
"""

import os
from collections.abc import Sequence

import msgspec

from softdpu.net.device import Function
from softdpu.net.state import FunctionConfig, FunctionState
from softdpu.testkit import GuestMemory
from softdpu.testkit.wire import Irq
from softdpu.virtio import effects as fx
from softdpu.virtio.outcome import Effects
from tests.testkit.device_side import DeviceSide, PackedSide, SplitSide


class Joined:
    """Serves a function whose guest has this memory."""

    def __init__(self, config: FunctionConfig, memory: GuestMemory, restless: bool = False) -> None:
        self.memory = memory
        self.restless = restless
        self._function = Function.create(config)
        self.queues: dict[int, tuple[fx.StartQueue, DeviceSide]] = {}
        self.sent: list[bytes] = []  # what the driver transmitted, headers included
        self.history: list[fx.AnyEffect] = []
        self.isr = 0
        self.msix = False
        self.config_vector = fx.NO_VECTOR
        self.fds: dict[tuple[int, int], int] = {}
        self.apply(self._function.start_effects())

    @property
    def function(self) -> Function:
        """The function, fresh from its state when restless."""
        if self.restless:
            stored = msgspec.msgpack.encode(self._function.state)
            self._function = Function.restore(msgspec.msgpack.decode(stored, type=FunctionState))
        return self._function

    # ---- the bus

    def read(self, region: int, offset: int, size: int) -> bytes:
        """Read a region; the ISR byte is the datapath's."""
        windows = self._function.description.isr
        if size == 1 and any((window.region, window.offset) == (region, offset) for window in windows):
            value, self.isr = self.isr, 0
            return bytes([value])
        data, effects = self.function.read(region, offset, size, self.isr)
        self.apply(effects)
        return data

    def write(self, region: int, offset: int, data: bytes, posted: bool = False) -> None:
        """Write a region; doorbells are the datapath's."""
        queue = self._doorbell(region, offset, data)
        if queue is None:
            self.apply(self.function.write(region, offset, data))
        else:
            self.kick(queue)

    def assign_irqs(self, index: int, fds: Sequence[int], start: int = 0) -> None:
        """Have interrupts written to eventfds."""
        self.fds |= {(index, start + place): fd for place, fd in enumerate(fds)}

    def disable_irqs(self, index: int) -> None:
        """Take all eventfds of an index away."""
        self.fds = {key: fd for key, fd in self.fds.items() if key[0] != index}

    def unmask_irq(self, index: int, start: int = 0) -> None:
        """INTx fires again while the ISR is not empty."""
        if self.isr and (index, start) in self.fds:
            os.eventfd_write(self.fds[index, start], 1)

    def _doorbell(self, region: int, offset: int, data: bytes) -> int | None:
        for bell in self._function.description.doorbells:
            if bell.region == region and bell.offset <= offset < bell.offset + bell.size:
                stride = bell.stride
                return (offset - bell.offset) // stride if stride else int.from_bytes(data[:2], "little")
        return None

    # ---- the datapath

    def apply(self, effects: Effects) -> None:
        """Carry out what the function asked for, in order."""
        for effect in effects.items:
            self.history.append(effect)
            self._carry_out(effect)

    def _carry_out(self, effect: fx.AnyEffect) -> None:
        match effect:
            case fx.StartQueue(queue=queue):
                self.queues[queue] = effect, self._device_side(effect)
            case fx.StopQueue(queue=queue):
                self.queues.pop(queue, None)
            case fx.Reset():
                self.queues.clear()
                self.isr, self.config_vector = 0, fx.NO_VECTOR
            case fx.SetVector(queue=queue, vector=vector) if queue in self.queues:
                self.queues[queue] = self._revectored(queue, vector), self.queues[queue][1]
            case fx.SetConfigVector(vector=vector):
                self.config_vector = vector
            case fx.SetInterrupts(msix=msix):
                self.msix = msix
            case fx.RaiseConfig():
                self.interrupt(self.config_vector, bit=2)
            case fx.AcknowledgeIsr(bits=bits):
                self.isr &= ~bits
            case fx.Kick(queue=queue):
                self.kick(queue)

    def _device_side(self, start: fx.StartQueue) -> DeviceSide:
        kind = PackedSide if start.packed else SplitSide
        side = kind(self.memory, start.size, start.descriptor, start.driver, start.device)
        side.start_at(start.position)
        return side

    def _revectored(self, queue: int, vector: int) -> fx.StartQueue:
        start = self.queues[queue][0]
        fields = {name: getattr(start, name) for name in start.__struct_fields__}
        return fx.StartQueue(**{**fields, "vector": vector})

    def interrupt(self, vector: int, bit: int) -> None:
        """Raise an interrupt as MSI-X or INTx."""
        if not self.msix:
            self.isr |= bit
        key = (int(Irq.MSIX), vector) if self.msix else (int(Irq.INTX), 0)
        if key in self.fds:
            os.eventfd_write(self.fds[key], 1)

    def kick(self, queue: int) -> None:
        """Serve what the driver made available on a transmit or control queue."""
        if queue not in self.queues:
            return
        start, side = self.queues[queue]
        if start.role == "transmit":
            while (frame := side.drain()) is not None:
                self.sent.append(frame)
            side.want_kick()  # with EVENT_IDX: the next chain is worth a notification again
        elif start.role == "control":
            self._serve_commands(queue, side)
        if start.role != "receive":
            self.interrupt(start.vector, bit=1)

    def _serve_commands(self, queue: int, side: DeviceSide) -> None:
        while (popped := side.pop()) is not None:
            head, buffers = popped
            request = b"".join(self.memory.read(b.address, b.length) for b in buffers if not b.writable)
            writable = [b for b in buffers if b.writable]
            answer, effects = self.function.command(queue, request, sum(b.length for b in writable))
            for buffer in writable:
                self.memory.write(buffer.address, answer[: buffer.length])
                answer = answer[buffer.length :]
            side.push(head, sum(b.length for b in writable))
            side.want_kick()
            self.apply(effects)

    def deliver(self, frame: bytes, queue: int = 0) -> None:
        """Put a frame into the driver's receive ring."""
        start, side = self.queues[queue]
        header = bytes(10) + (b"\x01\x00" if start.header == 12 else b"")
        side.fill(header + frame)
        self.interrupt(start.vector, bit=1)
