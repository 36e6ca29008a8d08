"""What the firmware settings and virtnet.conf allow: how many devices, of which size, on which ports."""

from collections.abc import Mapping
from dataclasses import dataclass

from softdpu.controller import errors
from softdpu.firmware.parameters import MOST_SWITCH_PORTS
from softdpu.firmware.rules import LEAST_VECTORS, functions, hotplug_places, vf_vectors, vfs
from softdpu.pci.sriov import MOST_VECTORS

MOST_QUEUES = 65  # virtqueues of a device: 32 pairs and the control queue
PORT_ADDRESSES = ("0000:03:00.0", "0000:03:00.1")  # of the network ports, as on the card


@dataclass(frozen=True)
class Limits:
    """The current firmware settings and the names of the network ports, as the controller needs them."""

    firmware: Mapping[str, int]
    ports: Mapping[str, int]  # ib device → port number
    static_port: str  # ib device of the static PFs
    mrg_rxbuf: bool  # whether devices may offer mergeable receive buffers
    packed_vq: bool = False  # whether they offer packed virtqueues without being asked to
    vf_legacy: bool = False  # whether legacy drivers reach VFs through their PF: lm_prov

    @property
    def hotplug_devices(self) -> int:
        """How many PFs can be plugged."""
        return hotplug_places(self.firmware)

    @property
    def devices(self) -> int:
        """How many devices there can be in all."""
        return functions(self.firmware)

    @property
    def vectors(self) -> int:
        """MSI-X vectors of a PF."""
        return max(self.firmware["VIRTIO_NET_EMULATION_NUM_MSIX"], LEAST_VECTORS)

    @property
    def vf_vectors(self) -> int:
        """MSI-X vectors that a VF comes with."""
        return min(max(vf_vectors(self.firmware), LEAST_VECTORS), MOST_VECTORS)

    @property
    def vfs(self) -> int:
        """How many VFs each static PF can have."""
        return vfs(self.firmware)

    @property
    def queues(self) -> int:
        """The most virtqueues of a device."""
        return min(self.vectors, MOST_QUEUES)

    @property
    def manager(self) -> str:
        """The ib device that manages emulation."""
        return self.static_port

    def port(self, ib_device: str) -> int:
        """The port that an ib device is. Raises NoSuchIbDevice."""
        if ib_device not in self.ports:
            raise errors.NoSuchIbDevice(ib_device, self.ports)
        return self.ports[ib_device]

    def check_hotplug(self, queues: int, transitional: bool, plugged: int, vectors: int = 0) -> None:
        """Whether one more device may be plugged. Raises the refusal."""
        if not self.firmware["PCI_SWITCH_EMULATION_ENABLE"]:
            raise errors.SwitchDisabled
        if transitional and not self.firmware["VIRTIO_EMULATION_HOTPLUG_TRANS"]:
            raise errors.TransitionalDisabled
        if plugged >= self.hotplug_devices:
            raise errors.NoPlaceForHotplug(plugged, self.firmware["PCI_SWITCH_EMULATION_NUM_PORT"], MOST_SWITCH_PORTS)
        if queues > self.queues:
            raise errors.TooManyQueues(queues, self.vectors, MOST_QUEUES)
        if vectors > self.vectors:
            raise errors.InvalidValue(
                "num_msix",
                vectors,
                f"0..{self.vectors}, which VIRTIO_NET_EMULATION_NUM_MSIX allows",
                "Ask for fewer, or raise it with mlxconfig and power-cycle.",
            )
