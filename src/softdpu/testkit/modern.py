"""The driver of a modern or transitional function: vendor capabilities, FEATURES_OK, queue enable (virtio 1.3 §4.1)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from softdpu.spec import features as f
from softdpu.spec.pci import CAP_ID_VENDOR
from softdpu.spec.virtio_pci import CAP_COMMON, CAP_DEVICE, CAP_ISR, CAP_NOTIFY, COMMON, FEATURES_OK, NOTIFY_CAP
from softdpu.testkit.driver import Driver
from softdpu.testkit.net import NegotiationFailed
from softdpu.testkit.pci import PciFunction
from softdpu.testkit.ring import Ring


@dataclass(frozen=True)
class Structure:
    """Where a virtio structure is: BAR, offset and length in bytes (§4.1.4), and the multiplier of the notify one."""

    bar: int
    offset: int
    length: int
    multiplier: int = 0


def structures(card: PciFunction) -> dict[int, Structure]:
    """The first structure of each type that the vendor capabilities name (§4.1.4)."""
    found: dict[int, Structure] = {}
    for cap in card.capabilities():
        if cap.identity == CAP_ID_VENDOR:
            kind = card.config(cap.offset + 3, 1)
            found.setdefault(kind, _structure(card, cap.offset, kind))
    return found


def _structure(card: PciFunction, at: int, kind: int) -> Structure:
    def read(name: str) -> int:
        register = NOTIFY_CAP.named[name]
        return card.config(at + register.offset, register.size)

    multiplier = read("notify_off_multiplier") if kind == CAP_NOTIFY else 0
    return Structure(read("bar"), read("offset"), read("length"), multiplier)


class ModernDriver(Driver):
    """Drives a function by its capabilities, as Linux's virtio_pci does."""

    @property
    def legacy(self) -> bool:
        """Whether the device is driven by the legacy rules."""
        return False

    @cached_property
    def structures(self) -> dict[int, Structure]:
        """The virtio structures of the function, by type."""
        return structures(self.card)

    @cached_property
    def _doorbells(self) -> dict[int, int]:
        return {}  # offset in the notify structure's BAR, by queue

    def region_read(self, kind: int, offset: int, size: int) -> bytes:
        """Read a structure, by its type."""
        place = self.structures[kind]
        return self.bus.read(place.bar, place.offset + offset, size)

    def region_write(self, kind: int, offset: int, data: bytes) -> None:
        """Write a structure, by its type."""
        place = self.structures[kind]
        self.bus.write(place.bar, place.offset + offset, data)

    def get(self, register: str) -> int:
        """Read a register of the common configuration."""
        place = COMMON.named[register]
        return int.from_bytes(self.region_read(CAP_COMMON, place.offset, place.size), "little")

    def set(self, register: str, value: int) -> None:
        """Write a register of the common configuration; 64-bit ones as two halves (§4.1.3.1)."""
        place = COMMON.named[register]
        data = value.to_bytes(place.size, "little")
        step = min(place.size, 4)
        for start in range(0, place.size, step):
            self.region_write(CAP_COMMON, place.offset + start, data[start : start + step])

    def offered(self) -> int:
        """Feature bits 0-127."""
        words = []
        for word in range(4):
            self.set("device_feature_select", word)
            words.append(self.get("device_feature") << 32 * word)
        return sum(words)

    def accept(self, features: int) -> None:
        """Write the driver's feature bits, set FEATURES_OK and see that it stays. Raises NegotiationFailed."""
        for word in range(4):
            self.set("driver_feature_select", word)
            self.set("driver_feature", features >> 32 * word & 0xFFFFFFFF)
        self.status |= FEATURES_OK
        if not self.status & FEATURES_OK:
            raise NegotiationFailed(f"the device does not take the features {features:#x}")

    def queue_indices(self) -> list[int]:
        """Queues that the driver sets up; the first administration virtqueue among them, where that is negotiated."""
        admin = [self.get("admin_queue_index")] if self.has(f.ADMIN_VQ) else []
        return [*super().queue_indices(), *admin]

    def setup_queue(self, index: int) -> Ring:
        """Make a ring, write its three addresses, enable it."""
        self.set("queue_select", index)
        offered = self.get("queue_size")
        if not offered:
            raise NegotiationFailed(f"queue {index} does not exist")
        ring = self.make_ring(min(self.queue_size or offered, offered))
        self.set("queue_size", ring.size)
        self.place_queue(ring)
        notify = self.structures[CAP_NOTIFY]
        self._doorbells[index] = notify.offset + self.get("queue_notify_off") * notify.multiplier
        return ring

    def place_queue(self, ring: Ring) -> None:
        """Write the addresses of the selected queue and enable it."""
        self.set("queue_desc", ring.descriptor)
        self.set("queue_driver", ring.driver)
        self.set("queue_device", ring.device)
        self.set("queue_enable", 1)

    def reset_queue(self, index: int, timeout: float = 5.0) -> None:
        """Reset one queue and wait until the device has let go of it (§4.1.4.3.1). Needs feature RING_RESET."""
        assert self.has(f.RING_RESET), "RING_RESET was not negotiated"
        self.set("queue_select", index)
        self.set("queue_reset", 1)
        deadline = time.monotonic() + timeout
        while self.get("queue_reset"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"queue {index} is still in reset after {timeout} s")
        self.rings.pop(index, None)

    def restart_queue(self, index: int) -> Ring:
        """Enable a queue again after ``reset_queue``, with a new ring; its receive buffers are posted."""
        ring = self.rings[index] = self.setup_queue(index)
        if self.mode == "msix":
            self.set("queue_msix_vector", self.vector(index))
        if index in (receiving := {receiver.queue: receiver for receiver in self.receivers.values()}):
            receiving[index].fill()
            self.kick(index)
        return ring

    def notify(self, queue: int) -> None:
        """Write the queue's number to its doorbell (§4.1.5.2), with NOTIFICATION_DATA also its position (§2.9)."""
        notify = self.structures[CAP_NOTIFY]
        data = queue.to_bytes(2, "little")
        if self.has(f.NOTIFICATION_DATA):
            data += self.rings[queue].position.to_bytes(2, "little")
        self.bus.write(notify.bar, self._doorbells[queue], data, posted=True)

    def read_config(self, offset: int, size: int) -> bytes:
        """Read the device-specific configuration, again when it changed meanwhile (§2.5.3)."""
        while True:
            before = self.get("config_generation")
            data = self.region_read(CAP_DEVICE, offset, size)
            if self.get("config_generation") == before:
                return data

    def read_isr(self) -> int:
        """Read the ISR status, which clears it."""
        return self.region_read(CAP_ISR, 0, 1)[0]

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
