"""Where everything of a virtio PCI function lies: identity, BARs, structures in them. One a shape, shared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from softdpu.pci.description import CONFIG_REGION, Description, Doorbell, Region, Window
from softdpu.pci.sriov import MOST_VECTORS, Sriov
from softdpu.spec import legacy, pci, virtio_net
from softdpu.spec import virtio_pci as v

IO_BAR, MSIX_BAR, MODERN_BAR = 0, 1, 4  # the numbers that QEMU's own virtio functions use
COMMON_AT, ISR_AT, DEVICE_AT, NOTIFY_AT = 0x0000, 0x1000, 0x2000, 0x3000  # in the modern BAR, a page each
LEGACY_NOTIFY_AT = 0x3800  # of a VF: a queue's number is written here, as to the register of the legacy interface
MODERN_BAR_SIZE = 0x4000
NOTIFY_STRIDE = 4  # notify_off_multiplier: each queue has its own dword
ENTRY_BYTES = 16  # of the MSI-X table


@dataclass(frozen=True)
class Bar:
    """A base address register: ``size`` bytes, a power of two; ``flags`` its read-only low bits."""

    index: int
    size: int
    flags: int


@dataclass(frozen=True)
class Structure:
    """A virtio structure in a BAR, named by a vendor capability (virtio 1.3 §4.1.4)."""

    cfg_type: int
    bar: int
    offset: int
    length: int


@dataclass(frozen=True)
class Plan:
    """The fixed shape of a function."""

    device_id: int
    revision: int
    subsystem_id: int
    bars: tuple[Bar, ...]
    structures: tuple[Structure, ...]  # none: a legacy device
    vectors: int
    pending_at: int  # offset of the pending bit array in the MSI-X BAR
    sriov: Sriov | None = None  # of a physical function that can have VFs
    virtual: bool = False  # a VF

    @property
    def legacy(self) -> bool:
        """Whether the legacy interface is there."""
        return any(bar.index == IO_BAR for bar in self.bars)

    @property
    def modern(self) -> bool:
        return bool(self.structures)

    @property
    def pending_bytes(self) -> int:
        """Bytes of the pending bit array: a bit a vector, in quadwords (PCI 3.0 §6.8.2.10)."""
        return -(-self.vectors // 64) * 8


@lru_cache(maxsize=64)
def plan(
    layout: Literal["modern", "transitional", "legacy"],
    vectors: int,
    queues: int,
    sriov: Sriov | None = None,
    *,
    virtual: bool = False,
) -> Plan:
    """The shape of a network function with ``queues`` virtqueues and ``vectors`` MSI-X vectors.

    The BARs of VFs are alike, however many vectors each has.
    """
    room = max(vectors, MOST_VECTORS) if virtual and vectors else vectors
    pending_at = max(2048, room * ENTRY_BYTES)
    bars = []
    if layout != "modern":
        bars.append(Bar(IO_BAR, legacy.IO_BAR_SIZE, pci.BAR_IO))
    if vectors:
        size = max(4096, _power_of_two(pending_at + -(-room // 64) * 8))
        bars.append(Bar(MSIX_BAR, size, pci.BAR_MEMORY_32))
    if layout != "legacy":
        bars.append(Bar(MODERN_BAR, MODERN_BAR_SIZE, pci.BAR_MEMORY_64_PREFETCH))
    modern_only = layout == "modern"
    return Plan(
        device_id=v.MODERN_DEVICE_BASE + v.NET_DEVICE_TYPE if modern_only else v.TRANSITIONAL_NET_DEVICE_ID,
        revision=v.MODERN_REVISION if modern_only else v.TRANSITIONAL_REVISION,
        subsystem_id=v.QUMRANET_SUBSYSTEM_ID if modern_only else v.NET_DEVICE_TYPE,
        bars=tuple(bars),
        structures=() if layout == "legacy" else _structures(queues),
        vectors=vectors,
        pending_at=pending_at,
        sriov=sriov,
        virtual=virtual,
    )


def describe(shape: Plan, queues: int) -> Description:
    """What whoever serves the function must know of it."""
    doorbells, isr = [], []
    if shape.legacy:
        notify, status = legacy.LEGACY.named["queue_notify"], legacy.LEGACY.named["isr_status"]
        doorbells.append(Doorbell(IO_BAR, notify.offset, notify.size, 0))
        isr.append(Window(IO_BAR, status.offset, 1))
    if shape.modern:
        doorbells.append(Doorbell(MODERN_BAR, NOTIFY_AT, NOTIFY_STRIDE * queues, NOTIFY_STRIDE))
        isr.append(Window(MODERN_BAR, ISR_AT, 1))
    if shape.virtual:
        doorbells.append(Doorbell(MODERN_BAR, LEGACY_NOTIFY_AT, 2, 0))
    regions = [Region(bar.index, bar.size) for bar in shape.bars] + [Region(CONFIG_REGION, pci.CONFIG_BYTES)]
    pending = Window(MSIX_BAR, shape.pending_at, shape.pending_bytes) if shape.vectors else None
    return Description(tuple(regions), shape.vectors, tuple(doorbells), tuple(isr), pending, shape.virtual)


def _structures(queues: int) -> tuple[Structure, ...]:
    return (
        Structure(v.CAP_COMMON, MODERN_BAR, COMMON_AT, v.COMMON.size),
        Structure(v.CAP_ISR, MODERN_BAR, ISR_AT, 4),
        Structure(v.CAP_DEVICE, MODERN_BAR, DEVICE_AT, virtio_net.CONFIG_BYTES),
        Structure(v.CAP_NOTIFY, MODERN_BAR, NOTIFY_AT, NOTIFY_STRIDE * queues),
    )


def _power_of_two(size: int) -> int:
    """The smallest power of two that is not below ``size``."""
    return 1 << (size - 1).bit_length()
