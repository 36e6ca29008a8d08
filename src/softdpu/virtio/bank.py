"""A table of registers brought to life: accesses of any size and alignment, reduced to whole registers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from softdpu.spec.registers import Access, Bank, Reg
from softdpu.virtio.outcome import NOTHING, Effects

Getter = Callable[[], int]
Setter = Callable[[int], Effects]


class RegisterFile:
    """Calls ``read_NAME`` and ``write_NAME`` of an owner for each register of a bank.

    A driver should access each register whole (virtio 1.3 §4.1.3.1). What it does instead works too: an access that
    covers several registers reaches each of them in order, one that covers a part of a register changes that part.
    """

    def __init__(self, bank: Bank, owner: object) -> None:
        self.size = bank.size
        self._readers: dict[str, Getter] = {}
        self._writers: dict[str, Setter] = {}
        self._whole: dict[tuple[int, int], Reg] = {}
        self._at: list[Reg | None] = [None] * bank.size
        for register in bank.registers:
            self._bind(register, owner)

    def _bind(self, register: Reg, owner: object) -> None:
        name = register.name
        if register.access is not Access.WO:
            self._readers[name] = getattr(owner, f"read_{name}")
        if register.access in (Access.RW, Access.WO):
            self._writers[name] = getattr(owner, f"write_{name}")
        self._whole[register.offset, register.size] = register
        self._at[register.offset : register.end] = [register] * register.size

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``; zeros where there is no register."""
        register = self._whole.get((offset, size))
        if register is not None:
            return self._value(register).to_bytes(size, "little")
        data = bytearray(size)
        for register in self._covered(offset, size):
            value = self._value(register).to_bytes(register.size, "little")
            start, end = max(offset, register.offset), min(offset + size, register.end)
            data[start - offset : end - offset] = value[start - register.offset : end - register.offset]
        return bytes(data)

    def write(self, offset: int, data: bytes) -> Effects:
        """Writes every register that the access touches; registers that cannot be written ignore it."""
        register = self._whole.get((offset, len(data)))
        if register is not None:
            return self._set(register, int.from_bytes(data, "little"))
        result = NOTHING
        for register in self._covered(offset, len(data)):
            result += self._set(register, self._merged(register, offset, data))
        return result

    def _value(self, register: Reg) -> int:
        reader = self._readers.get(register.name)
        return reader() if reader else 0

    def _set(self, register: Reg, value: int) -> Effects:
        writer = self._writers.get(register.name)
        return writer(value) if writer else NOTHING

    def _merged(self, register: Reg, offset: int, data: bytes) -> int:
        """The value of a register after the written bytes have replaced theirs."""
        value = bytearray(self._value(register).to_bytes(register.size, "little"))
        start, end = max(offset, register.offset), min(offset + len(data), register.end)
        value[start - register.offset : end - register.offset] = data[start - offset : end - offset]
        return int.from_bytes(value, "little")

    def _covered(self, offset: int, size: int) -> Iterator[Reg]:
        at, end = offset, min(offset + size, self.size)
        while at < end:
            register = self._at[at]
            if register is None:
                at += 1
            else:
                yield register
                at = register.end
