"""Configuration space as a driver sees it: reads, masked writes, and what a write asks for."""

from __future__ import annotations

from typing import NamedTuple

from softdpu.pci.image import Image, image
from softdpu.pci.plan import Plan
from softdpu.pci.sriov import SriovRegisters
from softdpu.pci.state import PciState
from softdpu.spec import pci
from softdpu.spec.virtio_pci import PCI_CFG_CAP


class Access(NamedTuple):
    """An access to a BAR that the PCI configuration access capability asks for (virtio 1.3 §4.1.4.9)."""

    bar: int
    offset: int
    length: int


class ConfigSpace:
    """The state holds only the dwords that differ from reset; the bytes here are what reads are answered from."""

    def __init__(self, plan: Plan, state: PciState) -> None:
        self._image: Image = image(plan)
        self._changed = state.config
        self._bytes = bytearray(self._image.bytes)
        for offset, value in state.config.items():
            self._bytes[offset : offset + 4] = value.to_bytes(4, "little")
        self._command = pci.HEADER.offset("command")
        self._status = pci.HEADER.offset("status")
        self._msix = self._image.at.get("msix", 0)
        self._window = self._image.at.get("window", 0)
        self.sriov_at = self._image.at.get("sriov", 0)  # 0: the function has no VFs
        self._sriov = SriovRegisters(self._bytes, self.sriov_at) if self.sriov_at else None
        self._power = self._image.at["power"] + pci.POWER_MANAGEMENT.offset("control")
        self._device_control = self._image.at["express"] + pci.EXPRESS.offset("device_control")

    def reset(self) -> None:
        """All registers return to their values after a PCI reset."""
        self._changed.clear()
        self._bytes[:] = self._image.bytes

    @property
    def content(self) -> bytes:
        """All of it as it stands, without what reading would do."""
        return bytes(self._bytes)

    @property
    def command(self) -> int:
        return self._bytes[self._command] | self._bytes[self._command + 1] << 8

    @property
    def decoding(self) -> bool:
        """Whether the function answers in memory or I/O space."""
        return bool(self.command & (pci.COMMAND_IO | pci.COMMAND_MEMORY))

    @property
    def intx_disabled(self) -> bool:
        return bool(self.command & pci.COMMAND_INTX_DISABLE)

    @property
    def msix_enabled(self) -> bool:
        return bool(self._msix and self._bytes[self._msix + 3] & pci.MSIX_ENABLE >> 8)

    @property
    def enabled_vfs(self) -> int:
        """How many VFs the host has enabled."""
        return self._sriov.enabled if self._sriov else 0

    def read(self, offset: int, size: int, isr: int) -> bytes:
        """``size`` bytes; past the end of the space, zeros. With ``isr`` set INTx is pending, unless MSI-X is on."""
        data = bytearray(self._bytes[offset : offset + size])
        data.extend(bytes(size - len(data)))
        if isr and offset <= self._status < offset + size and not self.msix_enabled:
            data[self._status - offset] |= pci.STATUS_INTERRUPT
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """Changes the writable bits; everything else is ignored, as hardware does."""
        mask, present = self._image.mask, self._bytes
        power, sriov = present[self._power], self._sriov.copy() if self._sriov else b""
        data = data[: max(0, pci.CONFIG_BYTES - offset)]
        for at, byte in enumerate(data, offset):
            if changeable := mask[at]:
                present[at] = present[at] & ~changeable | byte & changeable
        if present[self._power] & 3 not in (pci.PM_D0, pci.PM_D3_HOT):  # D1 and D2 are not there: no change
            present[self._power] = power
        if self._sriov:
            self._sriov.settle(sriov)
        self._remember(offset, len(data))

    def _remember(self, offset: int, size: int) -> None:
        for at in range(offset & ~3, offset + size, 4):
            value = self._bytes[at : at + 4]
            if value == self._image.bytes[at : at + 4]:
                self._changed.pop(at, None)
            else:
                self._changed[at] = int.from_bytes(value, "little")

    def asks_reset(self, offset: int, data: bytes) -> bool:
        """Whether a write initiates a function level reset (PCIe 5.0 §7.5.3.4)."""
        at = self._device_control + 1 - offset
        return 0 <= at < len(data) and bool(data[at] & pci.DEVCTL_FLR >> 8)

    def touches_window(self, offset: int, size: int) -> bool:
        """Whether an access overlaps the data field of the PCI configuration access capability."""
        at = self._window + PCI_CFG_CAP.offset("pci_cfg_data")
        return bool(self._window) and offset < at + 4 and at < offset + size

    @property
    def window(self) -> Access | None:
        """The access that the capability is set to, or None where a driver must not use it."""
        bar = self._bytes[self._window + PCI_CFG_CAP.offset("bar")]
        offset = self._word(PCI_CFG_CAP.offset("offset"))
        length = self._word(PCI_CFG_CAP.offset("length"))
        if length not in (1, 2, 4) or offset % length:
            return None
        return Access(bar, offset, length)

    @property
    def window_data(self) -> bytes:
        """The four bytes of pci_cfg_data."""
        at = self._window + PCI_CFG_CAP.offset("pci_cfg_data")
        return bytes(self._bytes[at : at + 4])

    def fill_window(self, data: bytes) -> None:
        """Stores what was read from a BAR as the first bytes of pci_cfg_data."""
        at = self._window + PCI_CFG_CAP.offset("pci_cfg_data")
        self._bytes[at : at + len(data)] = data
        self._remember(at, len(data))

    def _word(self, offset: int) -> int:
        at = self._window + offset
        return int.from_bytes(self._bytes[at : at + 4], "little")
