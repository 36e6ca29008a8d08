"""The MSI-X table and pending bit array, as storage: interrupts are delivered by whoever serves the function."""

from __future__ import annotations

from softdpu.pci.plan import ENTRY_BYTES, Plan
from softdpu.pci.state import PciState
from softdpu.spec.pci import MSIX_ENTRY

_RESET = bytes(12) + b"\x01" + bytes(3)  # masked, PCI 3.0 §6.8.2.9
MASK = b"".join(register.mask.to_bytes(register.size, "little") for register in MSIX_ENTRY.registers)


def allowed(entry: bytes) -> bool:
    """Whether these are the bytes of a table entry that a driver can have written."""
    return len(entry) == ENTRY_BYTES and not any(byte & ~mask for byte, mask in zip(entry, MASK, strict=True))


class MsixTable:
    """BAR of the table: entries from 0 on, then the pending bits, which are kept elsewhere and read as 0 here."""

    def __init__(self, plan: Plan, state: PciState) -> None:
        self._entries = state.table
        self._end = plan.vectors * ENTRY_BYTES

    def reset(self) -> None:
        """All vectors masked, no address."""
        self._entries.clear()

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes; zeros where there is no entry."""
        end = min(offset + size, self._end)
        first = offset // ENTRY_BYTES
        data = b"".join(self._entries.get(entry, _RESET) for entry in range(first, -(-end // ENTRY_BYTES)))
        skip = offset - first * ENTRY_BYTES
        return data[skip : skip + max(0, end - offset)].ljust(size, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        """Writes to the pending bits and past the table are ignored."""
        for at, byte in enumerate(data[: max(0, self._end - offset)], offset):
            entry, field = divmod(at, ENTRY_BYTES)
            value = bytearray(self._entries.get(entry, _RESET))
            value[field] = byte & MASK[field]
            self._store(entry, bytes(value))

    def _store(self, entry: int, value: bytes) -> None:
        if value == _RESET:
            self._entries.pop(entry, None)
        else:
            self._entries[entry] = value
