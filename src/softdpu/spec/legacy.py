"""Virtio over PCI, the legacy interface: registers in BAR0 and the queue's layout in memory. Data only."""

from typing import NamedTuple

from softdpu.spec.registers import R_CLEAR, RO, RW, WO, Bank, Reg
from softdpu.spec.virtio_pci import descriptor_bytes, driver_bytes

_HEADER = (
    Reg("device_features", 0x00, 4, RO),
    Reg("driver_features", 0x04, 4, RW),
    Reg("queue_address", 0x08, 4, RW),  # guest page number: address >> 12
    Reg("queue_size", 0x0C, 2, RO),
    Reg("queue_select", 0x0E, 2, RW),
    Reg("queue_notify", 0x10, 2, WO),
    Reg("device_status", 0x12, 1, RW),
    Reg("isr_status", 0x13, 1, R_CLEAR),
)
_VECTORS = (
    Reg("config_msix_vector", 0x14, 2, RW, needs="MSI-X enabled"),
    Reg("queue_msix_vector", 0x16, 2, RW, needs="MSI-X enabled"),
)

LEGACY = Bank("legacy", "virtio 1.3 §4.1.4.10", _HEADER)
LEGACY_MSIX = Bank("legacy, MSI-X enabled", "virtio 1.3 §4.1.4.10", _HEADER + _VECTORS)
IO_BAR_SIZE = 64  # header, vectors and the network configuration, up to a power of two

PAGE = 4096  # Queue Align and the unit of queue_address, §4.1.5.1.3.1


class Rings(NamedTuple):
    """Where the three parts of a legacy queue lie: byte addresses."""

    descriptor: int
    driver: int
    device: int


def rings(page_number: int, size: int) -> Rings:
    """The layout of §2.7.2: one run of memory, the used ring on the next page boundary."""
    descriptor = page_number * PAGE
    driver = descriptor + descriptor_bytes(size)
    end = driver + driver_bytes(size)
    return Rings(descriptor, driver, -(-end // PAGE) * PAGE)
