"""The driver of a legacy or transitional function: I/O registers, page frame numbers (virtio 1.3 §4.1.4.10)."""

from collections.abc import Sequence
from typing import Final

from softdpu.spec.legacy import LEGACY, LEGACY_MSIX, PAGE
from softdpu.testkit.driver import Driver
from softdpu.testkit.net import NegotiationFailed
from softdpu.testkit.ring import Ring
from softdpu.testkit.wire import RegionIndex


class LegacyDriver(Driver):
    """Drives BAR 0 as Linux's virtio_pci does with ``force_legacy=1``."""

    BAR: Final = RegionIndex.BAR0

    @property
    def legacy(self) -> bool:
        """Whether the device is driven by the legacy rules."""
        return True

    def io_read(self, offset: int, size: int) -> bytes:
        """Read I/O BAR 0."""
        return self.bus.read(self.BAR, offset, size)

    def io_write(self, offset: int, data: bytes) -> None:
        """Write I/O BAR 0."""
        self.bus.write(self.BAR, offset, data)

    def get(self, register: str) -> int:
        """Read a register of the legacy bank."""
        place = LEGACY_MSIX.named[register]
        return int.from_bytes(self.io_read(place.offset, place.size), "little")

    def set(self, register: str, value: int) -> None:
        """Write a register of the legacy bank."""
        place = LEGACY_MSIX.named[register]
        self.io_write(place.offset, value.to_bytes(place.size, "little"))

    def offered(self) -> int:
        """Feature bits 0-31."""
        return self.get("device_features")

    def accept(self, features: int) -> None:
        """Write the driver's feature bits; a legacy device cannot object."""
        self.set("driver_features", features)

    def setup_queue(self, index: int) -> Ring:
        """Make a ring of the size that the device dictates and write its page number."""
        self.set("queue_select", index)
        size = self.get("queue_size")
        if not size:
            raise NegotiationFailed(f"queue {index} does not exist")
        ring = self.make_ring(size)
        self.set("queue_address", ring.descriptor // PAGE)
        return ring

    def notify(self, queue: int) -> None:
        """Write the queue's number to Queue Notify."""
        self.set("queue_notify", queue)

    @property
    def config_offset(self) -> int:
        """Where the device configuration begins now."""
        return LEGACY_MSIX.size if self.msix_on else LEGACY.size

    def read_config(self, offset: int, size: int) -> bytes:
        """Read the device-specific configuration."""
        return self.io_read(self.config_offset + offset, size)

    def write_config(self, offset: int, data: bytes) -> None:
        """Write the device-specific configuration bytewise, as Linux writes the MAC."""
        for place, byte in enumerate(data):
            self.io_write(self.config_offset + offset + place, bytes([byte]))

    def read_isr(self) -> int:
        """Read the ISR status, which clears it."""
        return self.get("isr_status")

    def set_vectors(self, config: int, queues: Sequence[tuple[int, int]]) -> None:
        """Write the vectors and see that the device took them."""
        self._set_vector("config_msix_vector", config)
        for queue, vector in queues:
            self.set("queue_select", queue)
            self._set_vector("queue_msix_vector", vector)

    def _set_vector(self, register: str, vector: int) -> None:
        self.set(register, vector)
        if self.get(register) != vector:
            raise NegotiationFailed(f"the device did not take MSI-X vector {vector}")
