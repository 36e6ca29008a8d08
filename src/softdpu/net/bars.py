"""The memory and I/O regions of a network function: which structure answers at which offset."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from softdpu.net.network import NetworkDevice, queue_count, queue_total
from softdpu.pci.config_space import ConfigSpace
from softdpu.pci.plan import COMMON_AT, DEVICE_AT, ISR_AT, NOTIFY_AT, NOTIFY_STRIDE
from softdpu.spec import legacy, virtio_net
from softdpu.spec import virtio_pci as v
from softdpu.spec.registers import Bank
from softdpu.virtio.bank import RegisterFile
from softdpu.virtio.effects import AcknowledgeIsr
from softdpu.virtio.legacy import LegacyBank
from softdpu.virtio.modern import ModernBank
from softdpu.virtio.outcome import NOTHING, Effects, effects


class Part(NamedTuple):
    """A structure in a region; its functions count offsets from its own start."""

    start: int
    end: int
    read: Callable[[int, int], bytes]
    write: Callable[[int, bytes], Effects]


def read_parts(parts: tuple[Part, ...], offset: int, size: int) -> bytes:
    """``size`` bytes of a region; zeros between the parts."""
    end = offset + size
    for part in parts:
        if part.start <= offset and end <= part.end:
            return part.read(offset - part.start, size)
    data = bytearray(size)
    for part in parts:
        low, high = max(offset, part.start), min(end, part.end)
        if low < high:
            data[low - offset : high - offset] = part.read(low - part.start, high - low)
    return bytes(data)


def write_parts(parts: tuple[Part, ...], offset: int, data: bytes) -> Effects:
    """Writes to whichever parts the bytes touch, in order."""
    end, result = offset + len(data), NOTHING
    for part in parts:
        low, high = max(offset, part.start), min(end, part.end)
        if low < high:
            result += part.write(low - part.start, data[low - offset : high - offset])
    return result


class IoRegion:
    """BAR0: the legacy registers, then the device configuration, which moves when MSI-X is turned on (§4.1.4.10)."""

    def __init__(self, device: NetworkDevice, space: ConfigSpace) -> None:
        bank = LegacyBank(device.virtio)
        self._device = device
        self._space = space
        self._plain = self._parts(RegisterFile(legacy.LEGACY, bank))
        self._shifted = self._parts(RegisterFile(legacy.LEGACY_MSIX, bank))
        self._isr = legacy.LEGACY.offset("isr_status")

    def _parts(self, registers: RegisterFile) -> tuple[Part, ...]:
        end = registers.size + virtio_net.CONFIG_BYTES
        return (
            Part(0, registers.size, registers.read, registers.write),
            Part(registers.size, end, self._device.read_config, self._device.write_config),
        )

    @property
    def registers(self) -> Bank:
        """The registers that there are now; the device configuration follows them."""
        return legacy.LEGACY_MSIX if self._space.msix_enabled else legacy.LEGACY

    @property
    def _now(self) -> tuple[Part, ...]:
        return self._shifted if self._space.msix_enabled else self._plain

    def read(self, offset: int, size: int, isr: int) -> tuple[bytes, Effects]:
        """Reading the ISR byte clears it (§4.1.4.5.1)."""
        self._device.virtio.isr = isr
        clears = isr and offset <= self._isr < offset + size
        return read_parts(self._now, offset, size), effects(AcknowledgeIsr(isr)) if clears else NOTHING

    def write(self, offset: int, data: bytes) -> Effects:
        return write_parts(self._now, offset, data)


class ModernRegion:
    """BAR4: common configuration, ISR, device configuration, notifications (§4.1.4.3-6), a page each."""

    def __init__(self, device: NetworkDevice) -> None:
        self._device = device
        queues = queue_count(device.config)
        bank = ModernBank(device.virtio, queues, queue_total(device.config) - queues)
        registers = RegisterFile(v.COMMON, bank)
        notify_end = NOTIFY_AT + NOTIFY_STRIDE * queue_total(device.config)
        self._parts = (
            Part(COMMON_AT, COMMON_AT + registers.size, registers.read, registers.write),
            Part(ISR_AT, ISR_AT + 1, self._read_isr, _ignore),
            Part(DEVICE_AT, DEVICE_AT + virtio_net.CONFIG_BYTES, device.read_config, _ignore),
            Part(NOTIFY_AT, notify_end, _zeros, self._notify),
        )

    def read(self, offset: int, size: int, isr: int) -> tuple[bytes, Effects]:
        """Reading the ISR byte clears it (§4.1.4.5.1)."""
        self._device.virtio.isr = isr
        clears = isr and offset <= ISR_AT < offset + size
        return read_parts(self._parts, offset, size), effects(AcknowledgeIsr(isr)) if clears else NOTHING

    def write(self, offset: int, data: bytes) -> Effects:
        return write_parts(self._parts, offset, data)

    def _read_isr(self, _offset: int, _size: int) -> bytes:
        return bytes([self._device.virtio.isr & 0xFF])

    def _notify(self, offset: int, data: bytes) -> Effects:
        """Each queue has its own dword; which one is written says it all (§4.1.5.2)."""
        result = NOTHING
        for queue in range(offset // NOTIFY_STRIDE, (offset + len(data) - 1) // NOTIFY_STRIDE + 1):
            result += self._device.virtio.kick(queue)
        return result


def _ignore(_offset: int, _data: bytes) -> Effects:
    return NOTHING


def _zeros(_offset: int, size: int) -> bytes:
    return bytes(size)
