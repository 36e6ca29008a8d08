"""The PCI functions that the simulated host sees, and what stands behind them."""

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from softdpu.spec import pci

Kind: TypeAlias = Literal["io", "memory", "wide memory"]


class Resource(msgspec.Struct, frozen=True):
    """A BAR: its number, size in bytes, and the low bits that say what it decodes (PCI 3.0 §6.2.5.1)."""

    index: int
    size: int
    flags: int

    @property
    def kind(self) -> Kind:
        """The address space, and for memory whether the BAR has 64 bits."""
        if self.flags & pci.BAR_IO:
            return "io"
        return "wide memory" if self.flags & 6 == 4 else "memory"


class PciFunction(msgspec.Struct, frozen=True):
    """One function. Addresses are written in full: 0000:14:00.2."""

    address: str
    vuid: str
    socket: str  # where a VMM drives it
    config: bytes  # configuration space as it reads now
    resources: tuple[Resource, ...]
    total_vfs: int = 0
    vfs: tuple[str, ...] = ()  # addresses of its VFs that are enabled
    physfn: str | None = None  # address of the PF that a VF belongs to
    in_use: bool = False  # a VMM, or this host's driver, is connected

    def number(self, register: str) -> int:
        """A register of the header (PCI 3.0 §6.1)."""
        place = pci.HEADER.named[register]
        return int.from_bytes(self.config[place.offset :][: place.size], "little")

    @property
    def identity(self) -> tuple[int, int]:
        """Vendor and device; those of a VF too, as VFIO shows them."""
        return self.number("vendor_id"), self.number("device_id")


class Hardware(Protocol):
    """What the simulated kernel acts on. Each method raises OSError as a kernel's driver would."""

    def functions(self) -> Sequence[PciFunction]:
        """Every function, by address."""

    def probe(self, driver: str, function: PciFunction, legacy: bool) -> None:
        """A driver takes a function; ``legacy``: by the legacy interface, where it has one."""

    def remove(self, driver: str, function: PciFunction) -> None:
        """A driver lets go of a function."""

    def set_vfs(self, function: PciFunction, count: int) -> None:
        """Enable so many VFs of a PF, or disable all (0)."""
