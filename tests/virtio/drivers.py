"""Drivers in the same process as the function: each register by its name in the specification; no memory, no socket."""

from __future__ import annotations

from typing import TypeVar

from softdpu.net.device import Function
from softdpu.net.state import FunctionConfig, Layout
from softdpu.pci.description import CONFIG_REGION
from softdpu.pci.plan import COMMON_AT, DEVICE_AT, IO_BAR, MODERN_BAR
from softdpu.spec import legacy, pci
from softdpu.spec import virtio_pci as v
from softdpu.spec.registers import Bank
from softdpu.virtio.effects import Effect
from softdpu.virtio.outcome import Effects

MAC = bytes.fromhex("0cc47aff2293")
AREAS = {"queue_desc": 0x10000, "queue_driver": 0x20000, "queue_device": 0x30000}
Kind = TypeVar("Kind", bound=Effect)


def make(layout: Layout = "transitional", **changes: object) -> Function:
    """A function with defaults that suit most tests."""
    settings: dict[str, object] = {"layout": layout, "mac": MAC, "queues": 3, "queue_size": 256, "vectors": 4}
    return Function.create(FunctionConfig(**(settings | changes)))  # type: ignore[arg-type]


def of_type(effects: Effects, kind: type[Kind]) -> list[Kind]:
    """The effects of one kind, in order."""
    return [effect for effect in effects if isinstance(effect, kind)]


class Registers:
    """A bank of registers in a region, by name."""

    def __init__(self, function: Function, bank: Bank, region: int, base: int = 0) -> None:
        self.function, self.bank, self.region, self.base = function, bank, region, base

    def read(self, name: str, isr: int = 0) -> int:
        register = self.bank.named[name]
        data, _ = self.function.read(self.region, self.base + register.offset, register.size, isr)
        assert len(data) == register.size
        return int.from_bytes(data, "little")

    def write(self, name: str, value: int) -> Effects:
        register = self.bank.named[name]
        return self.function.write(self.region, self.base + register.offset, value.to_bytes(register.size, "little"))


def header(function: Function) -> Registers:
    """The type 0 header."""
    return Registers(function, pci.HEADER, CONFIG_REGION)


def capability(function: Function, bank: Bank, cap_id: int, cfg_type: int | None = None) -> Registers:
    """The capability of this id (and virtio type), found as a driver finds it: by walking the list."""
    space, _ = function.read(CONFIG_REGION, 0, 256)
    at = space[pci.HEADER.offset("capabilities")]
    while at:
        if space[at] == cap_id and cfg_type in (None, space[at + 3]):
            return Registers(function, bank, CONFIG_REGION, at)
        at = space[at + 1]
    raise LookupError(f"no capability {cap_id:#x}")


def enable_msix(function: Function, on: bool = True) -> Effects:
    """Turns MSI-X on or off in its capability."""
    msix = capability(function, pci.MSIX, pci.CAP_ID_MSIX)
    control = msix.read("control") & ~pci.MSIX_ENABLE
    return msix.write("control", control | (pci.MSIX_ENABLE if on else 0))


class Modern(Registers):
    """A driver of the modern interface."""

    def __init__(self, function: Function) -> None:
        super().__init__(function, v.COMMON, MODERN_BAR, COMMON_AT)

    def hidden_from_legacy(self) -> int:
        return 0

    def offered(self) -> int:
        words = []
        for word in (0, 1):
            self.write("device_feature_select", word)
            words.append(self.read("device_feature"))
        return words[0] | words[1] << 32

    def accept(self, features: int) -> None:
        for word in (0, 1):
            self.write("driver_feature_select", word)
            self.write("driver_feature", features >> 32 * word & 0xFFFFFFFF)

    def negotiate(self, features: int | None = None) -> Effects:
        """Up to FEATURES_OK, with all that is offered unless told otherwise."""
        for status in (0, 1, 3):
            self.write("device_status", status)
        self.accept(self.offered() if features is None else features)
        return self.write("device_status", 11)

    def set_up(self, queue: int, size: int = 256) -> Effects:
        """Gives a queue a place of its own and enables it."""
        self.write("queue_select", queue)
        self.write("queue_size", size)
        for name, address in AREAS.items():
            self.write(name, address + queue * 0x100000)
        return self.write("queue_enable", 1)

    def bring_up(self, features: int | None = None, queues: int = 3) -> Effects:
        """All the way to DRIVER_OK; returns what that last step asked for."""
        self.negotiate(features)
        for queue in range(queues):
            self.set_up(queue)
        return self.write("device_status", 15)

    def config(self, offset: int, size: int) -> bytes:
        return self.function.read(MODERN_BAR, DEVICE_AT + offset, size)[0]


class Legacy(Registers):
    """A driver of the legacy interface."""

    def __init__(self, function: Function, msix: bool = False) -> None:
        super().__init__(function, legacy.LEGACY_MSIX if msix else legacy.LEGACY, IO_BAR)

    def place(self, queue: int, page: int | None = None) -> Effects:
        self.write("queue_select", queue)
        return self.write("queue_address", 0x1000 * (queue + 1) if page is None else page)

    def bring_up(self, features: int | None = None, queues: int = 3) -> list[Effects]:
        """All the way to DRIVER_OK; returns what each queue address asked for."""
        for status in (0, 1, 3):
            self.write("device_status", status)
        self.write("driver_features", self.read("device_features") if features is None else features)
        started = [self.place(queue) for queue in range(queues)]
        self.write("device_status", 7)
        return started

    def config(self, offset: int, size: int) -> bytes:
        return self.function.read(IO_BAR, self.bank.size + offset, size)[0]
