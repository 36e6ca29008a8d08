"""The SR-IOV capability of a physical function: what is fixed in it, and the rules of what a host writes to it."""

from __future__ import annotations

import msgspec

from softdpu.spec import pci_extended as x

MOST_VECTORS = 256  # MSI-X vectors of a VF, whatever it has now: the size of its BAR is that of all VFs
MOST_VFS = 0xFFFF


class Sriov(msgspec.Struct, frozen=True):
    """Which VFs a physical function can have. VF n has its PF's routing id + offset + n × stride; 0 is the first."""

    total: int  # 1 to 65535
    offset: int
    stride: int = 1
    next_function: int = 0  # ARI: the next physical function of the device; 0: none


class SriovRegisters:
    """The capability at ``at`` of a function's bytes."""

    def __init__(self, content: bytearray, at: int) -> None:
        self._content = content
        self._at = at
        self._slice = slice(at, at + x.SRIOV.size)

    @property
    def enabled(self) -> int:
        """How many VFs there are: NumVFs, while VF Enable is set."""
        return self._get("num_vfs") if self._get("control") & x.VF_ENABLE else 0

    def copy(self) -> bytes:
        """The capability as it is, for ``settle``."""
        return bytes(self._content[self._slice])

    def settle(self, before: bytes) -> None:
        """Takes back what a write may not change: all but control while VFs are enabled, and values that cannot be.

        PCIe 5.0 §9.3.3.3.1, §9.3.3.7 and §9.3.3.13 leave open what such a write does; here it does nothing.
        """
        was_enabled = before[x.SRIOV.offset("control")] & x.VF_ENABLE
        if was_enabled or self._get("num_vfs") > self._get("total_vfs"):
            self._restore("num_vfs", before)
        if was_enabled or not page_size(self._get("system_page_size")):
            self._restore("system_page_size", before)

    def _get(self, name: str) -> int:
        register = x.SRIOV.named[name]
        return int.from_bytes(self._content[self._at + register.offset : self._at + register.end], "little")

    def _restore(self, name: str, before: bytes) -> None:
        register = x.SRIOV.named[name]
        self._content[self._at + register.offset : self._at + register.end] = before[register.offset : register.end]


def page_size(value: int) -> bool:
    """Whether this can be the System Page Size: exactly one of the supported ones."""
    return value.bit_count() == 1 and bool(value & x.SUPPORTED_PAGE_SIZES)
