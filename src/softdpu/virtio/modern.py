"""The common configuration structure, as a modern driver uses it (virtio 1.3 §4.1.4.3)."""

from __future__ import annotations

from softdpu.spec import features as f
from softdpu.spec import virtio_pci as v
from softdpu.virtio import negotiation
from softdpu.virtio.areas import size_fault
from softdpu.virtio.device import VirtioDevice
from softdpu.virtio.outcome import NOTHING, Effects, note
from softdpu.virtio.state import QueueState

WORDS = 2  # feature words that can hold a bit on offer; the rest read 0
WORDS_KEPT = (
    4  # words in which a bit that was not offered is noticed, as virtio 1.4 has 128; further ones ignore writes
)
WORD = 0xFFFFFFFF


class ModernBank:
    """``read_NAME`` and ``write_NAME`` for each register of ``spec.virtio_pci.COMMON``."""

    def __init__(self, device: VirtioDevice, queues: int, admin_queues: int = 0) -> None:
        """``queues`` of the device type's own, then administration virtqueues."""
        self._device = device
        self._queues = queues
        self._admin_queues = admin_queues

    # ---- features: a window of 32 bits, chosen by a select register of any value

    def read_device_feature_select(self) -> int:
        return self._device.state.device_feature_select

    def write_device_feature_select(self, value: int) -> Effects:
        self._device.state.device_feature_select = value
        return NOTHING

    def read_device_feature(self) -> int:
        word = self._device.state.device_feature_select
        offered = negotiation.shown(self._device.kind.offered(), "modern")
        return offered >> 32 * word & WORD if word < WORDS else 0

    def read_driver_feature_select(self) -> int:
        return self._device.state.driver_feature_select

    def write_driver_feature_select(self, value: int) -> Effects:
        self._device.state.driver_feature_select = value
        return NOTHING

    def read_driver_feature(self) -> int:
        state = self._device.state
        word = state.driver_feature_select
        return self._device.accepted >> 32 * word & WORD if word < WORDS_KEPT else 0

    def write_driver_feature(self, value: int) -> Effects:
        """Mirrors what the driver wrote; it is judged when FEATURES_OK is set, and final from then on (§3.1.1)."""
        state = self._device.state
        if not self._device.claim("modern"):
            return self._device.refuse_claim("modern")
        if state.status & v.FEATURES_OK:
            return note("driver_feature written after FEATURES_OK: ignored")
        if (word := state.driver_feature_select) < WORDS:
            state.driver_features = state.driver_features & ~(WORD << 32 * word) | value << 32 * word
        elif word < WORDS_KEPT:
            second, third = state.features_beyond
            state.features_beyond = (value, third) if word == WORDS else (second, value)
        return NOTHING

    # ---- the device

    def read_config_msix_vector(self) -> int:
        return self._device.state.config_vector

    def write_config_msix_vector(self, value: int) -> Effects:
        return self._device.write_config_vector(value)

    def read_num_queues(self) -> int:
        return self._queues

    def read_device_status(self) -> int:
        return self._device.state.status

    def write_device_status(self, value: int) -> Effects:
        return self._device.write_status("modern", value)

    def read_config_generation(self) -> int:
        return self._device.state.generation

    # ---- the selected queue; where there is none, everything reads 0 and ignores writes

    def read_queue_select(self) -> int:
        return self._device.state.queue_select

    def write_queue_select(self, value: int) -> Effects:
        self._device.state.queue_select = value
        return NOTHING

    def read_queue_size(self) -> int:
        queue = self._device.selected
        return self._device.size_of(queue) if queue else 0

    def write_queue_size(self, value: int) -> Effects:
        """The driver may make a queue smaller before it enables it: a power of two unless packed (§4.1.4.3.2)."""
        queue = self._changeable()
        if queue is None:
            return NOTHING
        if why := size_fault(value, self._device.kind.queue_size, self._device.has(f.RING_PACKED)):
            return note(f"queue_size of queue {self._device.state.queue_select} stays as it is: {why}")
        queue.size = value
        return NOTHING

    def read_queue_msix_vector(self) -> int:
        queue = self._device.selected
        return queue.vector if queue else v.NO_VECTOR

    def write_queue_msix_vector(self, value: int) -> Effects:
        return self._device.write_queue_vector(value)

    def read_queue_enable(self) -> int:
        queue = self._device.selected
        return int(queue.enabled) if queue else 0

    def write_queue_enable(self, value: int) -> Effects:
        """1 enables; anything else a driver must not write (§4.1.4.3.2)."""
        if not self._device.claim("modern"):
            return self._device.refuse_claim("modern")
        if value == 1:
            return self._device.enable()
        return note(f"queue_enable {value} ignored: a queue is disabled by queue_reset or by a device reset")

    def read_queue_notify_off(self) -> int:
        return self._device.state.queue_select if self._device.selected else 0

    def read_queue_desc(self) -> int:
        queue = self._device.selected
        return queue.descriptor if queue else 0

    def write_queue_desc(self, value: int) -> Effects:
        return self._place("descriptor", value)

    def read_queue_driver(self) -> int:
        queue = self._device.selected
        return queue.driver if queue else 0

    def write_queue_driver(self, value: int) -> Effects:
        return self._place("driver", value)

    def read_queue_device(self) -> int:
        queue = self._device.selected
        return queue.device if queue else 0

    def write_queue_device(self, value: int) -> Effects:
        return self._place("device", value)

    def read_queue_notif_config_data(self) -> int:
        return 0  # NOTIF_CONFIG_DATA is never offered

    def read_queue_reset(self) -> int:
        return 0  # a reset is complete before the write is answered

    def write_queue_reset(self, value: int) -> Effects:
        return self._device.reset_queue() if value == 1 else NOTHING

    def read_admin_queue_index(self) -> int:
        return self._queues if self._admin_queues else 0

    def read_admin_queue_num(self) -> int:
        return self._admin_queues

    def _changeable(self) -> QueueState | None:
        """The selected queue, unless it is enabled: then its size and places are fixed."""
        queue = self._device.selected
        return queue if queue and not queue.enabled and self._device.claim("modern") else None

    def _place(self, area: str, address: int) -> Effects:
        queue = self._changeable()
        if queue is not None:
            setattr(queue, area, address)
        return NOTHING
