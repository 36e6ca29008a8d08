"""A PCI function as a driver finds it: configuration space, capabilities, BARs, MSI-X and INTx.

>>> card = PciFunction(vmm)                                                    # doctest: +SKIP
>>> f"{card.vendor:04x}:{card.device:04x}", card.has_io_bar                     # doctest: +SKIP
('1af4:1000', True)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

from softdpu.spec import pci
from softdpu.testkit.eventfds import Eventfds
from softdpu.testkit.wire import Irq, RegionIndex

MSIX_COUNT: Final = 0x7FF  # vectors minus one, in the MSI-X control word


class Bus(Protocol):
    """How a driver reaches a function: a ``Client``, or anything else that can do the same."""

    def read(self, region: int, offset: int, size: int) -> bytes:
        """Read a region."""

    def write(self, region: int, offset: int, data: bytes, posted: bool = False) -> None:
        """Write a region."""

    def assign_irqs(self, index: int, fds: Sequence[int], start: int = 0) -> None:
        """Have interrupts written to eventfds."""

    def disable_irqs(self, index: int) -> None:
        """Take all eventfds of an index away."""

    def unmask_irq(self, index: int, start: int = 0) -> None:
        """Let a masked interrupt fire again."""


@dataclass(frozen=True)
class Capability:
    """A capability of the configuration space: where it is, what it is."""

    offset: int
    identity: int


@dataclass(frozen=True)
class Bar:
    """A base address register: what it decodes and how many bytes (a power of two)."""

    index: int
    io: bool
    wide: bool  # a 64-bit memory BAR, which takes the next register too
    size: int


class PciFunction:
    """Reads and writes of configuration space by name; all numbers are unsigned."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.vendor = self.header("vendor_id")
        self.device = self.header("device_id")
        self.revision = self.header("revision")
        self.subsystem_vendor = self.header("subsystem_vendor_id")
        self.subsystem = self.header("subsystem_id")

    def header(self, name: str) -> int:
        """A register of the type 0 header, by its name in ``softdpu.spec.pci``."""
        register = pci.HEADER.named[name]
        return self.config(register.offset, register.size)

    def config(self, offset: int, size: int) -> int:
        """A number in configuration space."""
        return int.from_bytes(self.bus.read(RegionIndex.CONFIG, offset, size), "little")

    def set_config(self, offset: int, size: int, value: int) -> None:
        """Write a number in configuration space."""
        self.bus.write(RegionIndex.CONFIG, offset, value.to_bytes(size, "little"))

    def capabilities(self) -> Iterator[Capability]:
        """Walk the capability list. Raises ValueError when it loops."""
        seen: set[int] = set()
        offset = self.header("capabilities") & 0xFC if self.header("status") & pci.STATUS_CAPABILITIES else 0
        while offset:
            if offset in seen:
                raise ValueError(f"the capability list comes back to {offset:#x}")
            seen.add(offset)
            yield Capability(offset, self.config(offset, 1))
            offset = self.config(offset + 1, 1) & 0xFC

    def capability(self, identity: int) -> Capability | None:
        """The first capability with this id."""
        return next((found for found in self.capabilities() if found.identity == identity), None)

    def bars(self) -> list[Bar]:
        """Size all BARs as a BIOS does: all ones written, read back, restored. Decoding must be off."""
        found: list[Bar] = []
        index = 0
        while index < 6:
            bar = self._bar(index)
            index += 2 if bar and bar.wide else 1
            if bar:
                found.append(bar)
        return found

    def _bar(self, index: int) -> Bar | None:
        at = pci.HEADER.offset("bar0") + 4 * index
        before = self.config(at, 4)
        wide = before & 7 == 4
        length = 8 if wide else 4
        original = self.config(at, length)
        self._set_halves(at, length, (1 << 8 * length) - 1)
        mask = self.config(at, length) & ~(3 if before & 1 else 15)
        self._set_halves(at, length, original)
        size = -mask & (1 << 8 * length) - 1
        return Bar(index, bool(before & 1), wide, size) if mask else None

    def _set_halves(self, offset: int, size: int, value: int) -> None:
        for half in range(0, size, 4):
            self.set_config(offset + half, 4, value >> 8 * half & 0xFFFFFFFF)

    def enable(self, io: bool = True, intx: bool = True) -> None:
        """Let the function decode its BARs and be a bus master; ``intx`` False sets Interrupt Disable."""
        command = pci.COMMAND_MEMORY | pci.COMMAND_MASTER
        command |= (pci.COMMAND_IO if io else 0) | (0 if intx else pci.COMMAND_INTX_DISABLE)
        self.set_config(pci.HEADER.offset("command"), 2, command)

    @property
    def has_io_bar(self) -> bool:
        """Whether BAR 0 is in I/O space, as on a transitional and on a legacy function."""
        return bool(self.header("bar0") & pci.BAR_IO)

    @cached_property
    def vectors(self) -> int:
        """MSI-X vectors that the function has; 0 without the capability."""
        found = self.capability(pci.CAP_ID_MSIX)
        return (self.config(found.offset + pci.MSIX.offset("control"), 2) & MSIX_COUNT) + 1 if found else 0

    def set_msix(self, on: bool) -> None:
        """Write MSI-X Enable. Raises LookupError when the function has no MSI-X."""
        found = self.capability(pci.CAP_ID_MSIX)
        if found is None:
            raise LookupError("the function has no MSI-X capability")
        self.set_config(found.offset + pci.MSIX.offset("control"), 2, pci.MSIX_ENABLE if on else 0)

    def pending(self) -> set[int]:
        """The vectors whose pending bit is set (PCI 3.0 §6.8.2.10). Raises LookupError when there is no MSI-X."""
        found = self.capability(pci.CAP_ID_MSIX)
        if found is None:
            raise LookupError("the function has no MSI-X capability")
        place = self.config(found.offset + pci.MSIX.offset("pending"), 4)
        words = -(-self.vectors // 64)
        bits = int.from_bytes(self.bus.read(place & 7, place & ~7, 8 * words), "little")
        return {vector for vector in range(self.vectors) if bits >> vector & 1}


class Interrupts(Eventfds):
    """The eventfds of a function, one a vector, or one for INTx; the device's copies go with ``disable_irqs`` or the
    connection."""

    def __init__(self, bus: Bus, index: Irq, count: int) -> None:
        super().__init__(count)
        self.bus = bus
        self.index = index
        bus.assign_irqs(index, self.fds)

    def moved_to(self, bus: Bus) -> None:
        """The function is reached by another bus now, with the same eventfds."""
        self.bus = bus
        bus.assign_irqs(self.index, self.fds)

    def unmask(self) -> None:
        """What a VMM does after the guest has served INTx."""
        self.bus.unmask_irq(self.index)
