"""How a bank of registers is written down: one table, in the order of the specification, read by everyone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property


class Access(Enum):
    """What a driver may do with a register."""

    RO = "read"
    RW = "read, write"
    WO = "write"
    R_CLEAR = "read clears"


RO, RW, WO, R_CLEAR = Access.RO, Access.RW, Access.WO, Access.R_CLEAR


@dataclass(frozen=True)
class Reg:
    """One register, little-endian. ``writable`` are the bits that a write changes; None: all of them if RW."""

    name: str
    offset: int  # bytes from the start of the bank
    size: int  # bytes
    access: Access
    writable: int | None = None
    needs: str = ""  # what must be there for the register to exist

    @property
    def end(self) -> int:
        return self.offset + self.size

    @property
    def mask(self) -> int:
        """The bits that a write changes."""
        if self.writable is not None:
            return self.writable
        return (1 << 8 * self.size) - 1 if self.access in (RW, WO) else 0


@dataclass(frozen=True)
class Bank:
    """A run of registers in ascending order of offset, none overlapping another."""

    name: str
    clause: str
    registers: tuple[Reg, ...]

    def __post_init__(self) -> None:
        for earlier, later in zip(self.registers, self.registers[1:], strict=False):
            assert earlier.end <= later.offset, f"{self.name}: {later.name} overlaps {earlier.name}"

    @cached_property
    def size(self) -> int:
        """Bytes, to the end of the last register."""
        return self.registers[-1].end

    @cached_property
    def named(self) -> dict[str, Reg]:
        return {register.name: register for register in self.registers}

    def offset(self, name: str) -> int:
        """Byte offset of a register."""
        return self.named[name].offset
