"""What Linux's virtio_vfio_pci shows a VM of a modern VF, so that a legacy driver finds a transitional function. Pure.

The rules are those of drivers/vfio/pci/virtio in Linux 6.8 and later (legacy_io.c; main.c before 6.13):

- device id 1000, revision 0, subsystem 1af4:0001; the rest of configuration space is the VF's own;
- BAR 0 is an I/O BAR of 32 bytes, which no VF can have (PCIe 5.0 §9.3.4.1.11): its address and I/O Space Enable are
  the driver's to keep;
- accesses to BAR 0 below the device configuration, which lies at 24 while the VM has MSI-X and else at 20, become
  LEGACY_COMMON_CFG_READ and _WRITE, those beyond it LEGACY_DEV_CFG_READ and _WRITE (virtio 1.3 §2.12.1.2), with the
  offset in the area that they name; but for Queue Notify (16): that is a write of the queue's number where
  LEGACY_NOTIFY_INFO says;
- an access while I/O Space Enable is clear, or beyond the BAR, fails.
"""

import errno
from typing import NamedTuple

from softdpu.spec import legacy, pci
from softdpu.spec import virtio_pci as v

BAR_SIZE = 32  # bytes: registers with MSI-X, then mac and status of the device configuration
NOTIFY = legacy.LEGACY.named["queue_notify"]
WITHOUT_MSIX, WITH_MSIX = 20, 24  # where the device configuration lies
SHOWN = {  # registers of the header that are not the VF's
    "device_id": v.TRANSITIONAL_NET_DEVICE_ID,
    "revision": v.TRANSITIONAL_REVISION,
    "subsystem_vendor_id": v.VENDOR_ID,
    "subsystem_id": v.NET_DEVICE_TYPE,
}


class Command(NamedTuple):
    """A legacy administration command that an access becomes."""

    configuration: bool  # of the device configuration, else of the common one
    offset: int  # in that area


class Notify(NamedTuple):
    """An access to Queue Notify."""


class Emulated:
    """The registers of one VF that its driver keeps while a VM has it."""

    def __init__(self) -> None:
        self.command = 0
        self.bar = 0
        self.msix = False  # the VM has MSI-X vectors

    def reset(self) -> None:
        """The function was reset."""
        self.command = 0
        self.msix = False

    def read_config(self, offset: int, data: bytes) -> bytes:
        """What the VM reads where the VF's configuration space has ``data``."""
        shown = bytearray(data)
        for name, value in SHOWN.items():
            _lay(shown, offset, pci.HEADER.offset(name), value.to_bytes(pci.HEADER.named[name].size, "little"))
        bar = self.bar & ~(BAR_SIZE - 1) | pci.BAR_IO
        _lay(shown, offset, pci.HEADER.offset("bar0"), bar.to_bytes(4, "little"))
        at = pci.HEADER.offset("command") - offset
        if self.command & pci.COMMAND_IO and 0 <= at < len(shown):
            shown[at] |= pci.COMMAND_IO
        return bytes(shown)

    def write_config(self, offset: int, data: bytes) -> None:
        """Keeps what the VM writes to the registers that are emulated; the VF gets the write as well."""
        self.command = _kept(self.command, 2, offset, pci.HEADER.offset("command"), data)
        self.bar = _kept(self.bar, 4, offset, pci.HEADER.offset("bar0"), data)

    def access(self, offset: int, size: int) -> Command | Notify:
        """What an access to BAR 0 becomes. Raises OSError EIO, EINVAL."""
        if not self.command & pci.COMMAND_IO:
            raise OSError(errno.EIO, "the VM has not enabled I/O space")
        if offset + size > BAR_SIZE or size == 0:
            raise OSError(errno.EINVAL, "the access goes beyond the BAR")
        if offset == NOTIFY.offset:
            if size != NOTIFY.size:
                raise OSError(errno.EINVAL, "Queue Notify has 16 bits")
            return Notify()
        area = WITH_MSIX if self.msix else WITHOUT_MSIX
        return Command(offset >= area, offset - area if offset >= area else offset)


def _lay(over: bytearray, start: int, at: int, data: bytes) -> None:
    """Puts ``data``, which lies at ``at`` of the space, over the part of it that begins at ``start``."""
    for place, byte in enumerate(data, at - start):
        if 0 <= place < len(over):
            over[place] = byte


def _kept(value: int, size: int, offset: int, at: int, data: bytes) -> int:
    """A register of ``size`` bytes at ``at`` after a write of ``data`` at ``offset``."""
    content = bytearray(value.to_bytes(size, "little"))
    _lay(content, at, offset, data)
    return int.from_bytes(content, "little")
