"""The legacy registers of BAR0, as drivers from before virtio 1.0 use them (virtio 1.3 §4.1.4.10)."""

from __future__ import annotations

from softdpu.spec import legacy as spec
from softdpu.spec import virtio_pci as v
from softdpu.virtio import negotiation
from softdpu.virtio.device import VirtioDevice
from softdpu.virtio.outcome import NOTHING, Effects, note


class LegacyBank:
    """``read_NAME`` and ``write_NAME`` for each register of ``spec.legacy.LEGACY_MSIX``."""

    def __init__(self, device: VirtioDevice) -> None:
        self._device = device

    @property
    def _offered(self) -> int:
        return self._device.kind.offered() & ~self._device.kind.hidden_from_legacy()

    def read_device_features(self) -> int:
        return negotiation.shown(self._offered, "legacy")

    def read_driver_features(self) -> int:
        return self._device.state.driver_features & negotiation.LEGACY_BITS

    def write_driver_features(self, value: int) -> Effects:
        """A legacy driver cannot be refused, so what does not hold does not stick.

        It may write its features after it has set up its queues, or never (§3.1.2).
        """
        device = self._device
        if not device.claim("legacy"):
            return device.refuse_claim("legacy")
        if device.state.status & v.DRIVER_OK:
            return note("driver features written after DRIVER_OK: ignored")
        device.state.driver_features = negotiation.usable(self._offered, value)
        return device.kind.settled() + device.restart()

    def read_queue_address(self) -> int:
        queue = self._device.selected
        return queue.descriptor // spec.PAGE & 0xFFFFFFFF if queue else 0

    def write_queue_address(self, value: int) -> Effects:
        """A guest page number: the queue lies there and is in use from now on; 0 takes it away."""
        device = self._device
        if not device.claim("legacy"):
            return device.refuse_claim("legacy")
        return device.place_legacy(spec.rings(value, device.kind.queue_size) if value else None)

    def read_queue_size(self) -> int:
        return self._device.kind.queue_size if self._device.selected else 0

    def read_queue_select(self) -> int:
        return self._device.state.queue_select

    def write_queue_select(self, value: int) -> Effects:
        self._device.state.queue_select = value
        return NOTHING

    def write_queue_notify(self, value: int) -> Effects:
        return self._device.kick(value)

    def read_device_status(self) -> int:
        return self._device.state.status

    def write_device_status(self, value: int) -> Effects:
        return self._device.write_status("legacy", value)

    def read_isr_status(self) -> int:
        return self._device.isr  # cleared by the effect that goes with the read

    def read_config_msix_vector(self) -> int:
        return self._device.state.config_vector

    def write_config_msix_vector(self, value: int) -> Effects:
        return self._device.write_config_vector(value)

    def read_queue_msix_vector(self) -> int:
        queue = self._device.selected
        return queue.vector if queue else v.NO_VECTOR

    def write_queue_msix_vector(self, value: int) -> Effects:
        return self._device.write_queue_vector(value)
