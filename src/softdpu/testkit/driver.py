"""A virtio-net driver of a PCI function, over any ``Bus``: what legacy and modern have in common.

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
from typing import Any, Literal, Self, TypeAlias

from softdpu.spec import virtio_net
from softdpu.spec.virtio_pci import ACKNOWLEDGE, DRIVER, DRIVER_OK, ISR_CONFIG, NEEDS_RESET, NO_VECTOR
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.net import NegotiationFailed, NetDriver
from softdpu.testkit.pci import Bus, Interrupts, PciFunction
from softdpu.testkit.wire import Irq

InterruptMode: TypeAlias = Literal["msix", "intx", "none"]


class Driver(NetDriver):
    """Drives one function; the other ``options`` are those of ``NetDriver``."""

    def __init__(self, bus: Bus, memory: GuestMemory, *, interrupts: InterruptMode = "msix", **options: Any) -> None:
        super().__init__(memory, **options)
        self.bus = bus
        self.card = PciFunction(bus)
        self.mode = interrupts
        self.interrupts: Interrupts | None = None
        self.msix_on = False
        self.isr = 0  # ISR bits read and not yet asked for

    def close(self) -> None:
        """Give the eventfds back. The device is not told: see ``stop``."""
        if self.interrupts:
            self.interrupts.close()
            self.interrupts = None

    @property
    def interrupted(self) -> bool:
        """Whether it has interrupts."""
        return self.interrupts is not None

    # ---- what a transport does its own way

    @abc.abstractmethod
    def get(self, register: str) -> int:
        """Read a register of the transport, by its name in ``softdpu.spec``."""

    @abc.abstractmethod
    def set(self, register: str, value: int) -> None:
        """Write a register of the transport, by its name in ``softdpu.spec``."""

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
        self.fill()
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

    def reset(self) -> None:
        """Reset the device by its status and forget the rings; ``start`` may follow."""
        self.status = 0
        self.isr = 0
        self.forget()

    def stop(self) -> None:
        """Leave as a driver does that is unbound: reset, interrupts off."""
        self.reset()
        if self.interrupts:
            self.bus.disable_irqs(self.interrupts.index)
        if self.msix_on:
            self.disable_msix()
        self.close()

    def moved_to(self, bus: Bus, memory: GuestMemory | None = None) -> None:
        """Go on at another function of the same shape, which has this one's state, with the guest's memory there.

        Without ``memory`` it is the same as before. The device is told only where the interrupts go, as by a VMM.
        """
        self.bus, self.card = bus, PciFunction(bus)
        if memory:
            self.remembered_by(memory)
        if self.interrupts:
            self.interrupts.moved_to(bus)

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
