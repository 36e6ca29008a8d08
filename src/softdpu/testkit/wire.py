"""The vfio-user protocol as data: commands, flags and message layouts, in the order of the protocol document (0.9.2).

All numbers are little-endian here; the protocol says host order, and every host that we run on is little-endian.
"""

import enum
import struct
from typing import Final

PAGE: Final = 4096


class Op(enum.IntEnum):
    """Commands of the protocol."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DMA_READ = 11
    DMA_WRITE = 12
    DEVICE_RESET = 13
    REGION_WRITE_MULTI = 15
    DEVICE_FEATURE = 16
    MIG_DATA_READ = 17
    MIG_DATA_WRITE = 18


class Flag(enum.IntFlag):
    """Flags of the message header; the low four bits are the type."""

    COMMAND = 0
    REPLY = 1
    NO_REPLY = 0x10
    ERROR = 0x20


class MapFlag(enum.IntFlag):
    """What the device may do with a mapped region."""

    READ = 1
    WRITE = 2


class DeviceFlag(enum.IntFlag):
    """VFIO_DEVICE_FLAGS_*."""

    RESET = 1
    PCI = 2


class RegionFlag(enum.IntFlag):
    """VFIO_REGION_INFO_FLAG_*."""

    READ = 1
    WRITE = 2
    MMAP = 4
    CAPS = 8


class IrqFlag(enum.IntFlag):
    """VFIO_IRQ_INFO_*."""

    EVENTFD = 1
    MASKABLE = 2
    AUTOMASKED = 4
    NORESIZE = 8


class IrqSet(enum.IntFlag):
    """VFIO_IRQ_SET_*: what the data is, and what is done with it."""

    DATA_NONE = 1
    DATA_BOOL = 2
    DATA_EVENTFD = 4
    MASK = 8
    UNMASK = 16
    TRIGGER = 32


class Irq(enum.IntEnum):
    """Interrupt indices of a PCI function."""

    INTX = 0
    MSI = 1
    MSIX = 2
    ERR = 3
    REQ = 4


class RegionIndex(enum.IntEnum):
    """Region indices of a PCI function."""

    BAR0 = 0
    BAR1 = 1
    BAR2 = 2
    BAR3 = 3
    BAR4 = 4
    BAR5 = 5
    ROM = 6
    CONFIG = 7
    VGA = 8


class Feature(enum.IntEnum):
    """VFIO_DEVICE_FEATURE_*: those that have to do with migration."""

    MIGRATION = 1
    MIG_DEVICE_STATE = 2
    DMA_LOGGING_START = 6
    DMA_LOGGING_STOP = 7
    DMA_LOGGING_REPORT = 8
    MIG_DATA_SIZE = 9


class FeatureFlag(enum.IntFlag):
    """What is done with a feature; its number is in the low 16 bits."""

    GET = 1 << 16
    SET = 1 << 17
    PROBE = 1 << 18


class Layout:
    """A fixed structure: field names and their struct codes, in order.

    >>> DMA_MAP.size
    32
    >>> VERSION.unpack(VERSION.pack(major=0, minor=1))
    {'major': 0, 'minor': 1}
    """

    def __init__(self, **fields: str) -> None:
        self.fields: Final = tuple(fields)
        self._struct = struct.Struct("<" + "".join(fields.values()))
        self.size: Final = self._struct.size

    def pack(self, **values: int) -> bytes:
        """The structure's bytes; a field not named is 0. Raises KeyError for a field that it does not have."""
        if unknown := values.keys() - set(self.fields):
            raise KeyError(f"no field {', '.join(sorted(unknown))}: there are {', '.join(self.fields)}")
        return self._struct.pack(*(values.get(field, 0) for field in self.fields))

    def unpack(self, data: bytes) -> dict[str, int]:
        """The fields at the start of ``data``. Raises struct.error when it is too short."""
        return dict(zip(self.fields, self._struct.unpack_from(data), strict=True))


HEADER: Final = Layout(message_id="H", command="H", size="I", flags="I", error="I")
VERSION: Final = Layout(major="H", minor="H")  # followed by JSON, ended by NUL
DMA_MAP: Final = Layout(argsz="I", flags="I", offset="Q", address="Q", length="Q")
DMA_UNMAP: Final = Layout(argsz="I", flags="I", address="Q", length="Q")
DEVICE_INFO: Final = Layout(argsz="I", flags="I", regions="I", irqs="I")
REGION_INFO: Final = Layout(argsz="I", flags="I", index="I", cap_offset="I", length="Q", offset="Q")
REGION_IO_FDS: Final = Layout(argsz="I", flags="I", index="I", count="I")
IRQ_INFO: Final = Layout(argsz="I", flags="I", index="I", count="I")
IRQ_SET: Final = Layout(argsz="I", flags="I", index="I", start="I", count="I")  # followed by booleans
REGION_ACCESS: Final = Layout(offset="Q", region="I", count="I")  # followed by the data
WRITE_MULTI: Final = Layout(count="Q")  # followed by that many SINGLE_WRITE
SINGLE_WRITE: Final = Layout(offset="Q", region="I", count="I", data="Q")
DEVICE_FEATURE: Final = Layout(argsz="I", flags="I")  # followed by what belongs to the feature:
MIGRATION: Final = Layout(flags="Q")
MIG_DEVICE_STATE: Final = Layout(device_state="I", data_fd="I")
DMA_LOGGING_START: Final = Layout(page_size="Q", ranges="I", reserved="I")  # followed by that many DMA_LOGGING_RANGE
DMA_LOGGING_RANGE: Final = Layout(address="Q", length="Q")
DMA_LOGGING_REPORT: Final = Layout(address="Q", length="Q", page_size="Q")  # in a reply followed by the bitmap
MIG_DATA_SIZE: Final = Layout(stop_copy_length="Q")
MIG_DATA: Final = Layout(argsz="I", size="I")  # followed by the data
