"""A guest small enough for a test: a VMM's connection, a few megabytes of memory, a driver."""

from contextlib import ExitStack
from typing import Any, Self

from softdpu.testkit import Client, Driver, GuestMemory, ModernDriver
from tests.dpu_under_test import Plugged


class SmallGuest:
    """Boots on a device: connects, shares its memory, starts its driver. Use as a context manager."""

    def __init__(
        self, device: Plugged, kind: type[Driver] = ModernDriver, memory: int = 4 << 20, **options: Any
    ) -> None:
        self.device = device
        with ExitStack() as stack:
            self.vmm = stack.enter_context(Client(device.socket))
            self.vmm.negotiate()
            self.memory = stack.enter_context(GuestMemory(memory))
            self.memory.map_into(self.vmm)
            self.net: Driver = stack.enter_context(kind(self.vmm, self.memory, **options))
            self.net.start()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.crash()

    def move(self, device: Plugged) -> None:
        """Its VMM lets go of the device and connects to another, whose state is still to be that of the former."""
        self.vmm.close()
        self.device = device
        self.vmm = self._stack.enter_context(Client(device.socket))
        self.vmm.negotiate()
        self.memory.map_into(self.vmm)
        self.net.moved_to(self.vmm)

    def crash(self) -> None:
        """Vanish as a killed VMM does: nothing is told to the device."""
        self._stack.close()
