"""The network device as a device type: what it adds to the transport-neutral virtio device."""

from __future__ import annotations

from softdpu.net import coalescing, control
from softdpu.net.config import config_bytes, patched_mac
from softdpu.net.features import has_control, offered, pairs
from softdpu.net.filters import in_mode, set_filter
from softdpu.net.state import FilterState, FunctionConfig, FunctionState, NetState
from softdpu.net.statistics import Counted
from softdpu.net.steering import steering
from softdpu.pci.plan import Plan, plan
from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.virtio.admin.owner import Owner
from softdpu.virtio.device import VirtioDevice
from softdpu.virtio.effects import Role, SetFrameLimit, SetLink, SetOffloads, StartQueue
from softdpu.virtio.negotiation import sound
from softdpu.virtio.outcome import NOTHING, Effects, effects, note
from softdpu.virtio.state import QueueState

BEYOND_STATUS = f.mask_of(f.NET_MTU, f.NET_MQ)
FRESH_PACKED = 1 << 15  # both wrap counters of a new packed ring are 1 (§2.8.1)


def queue_count(config: FunctionConfig) -> int:
    """Virtqueues that the function has, beside the administration virtqueue."""
    return 2 * pairs(config) + has_control(config)


def has_admin(config: FunctionConfig) -> bool:
    """Whether there is an administration virtqueue (§2.13): it comes after all others."""
    return bool(offered(config) >> f.ADMIN_VQ & 1)


def queue_total(config: FunctionConfig) -> int:
    """All virtqueues."""
    return queue_count(config) + has_admin(config)


def shape(config: FunctionConfig) -> Plan:
    """Identity, BARs and capabilities of the function."""
    return plan(config.layout, config.vectors, queue_total(config), config.sriov, virtual=config.virtual)


def fresh_state(config: FunctionConfig) -> NetState:
    """What a driver finds: all as the operator has it."""
    received = FilterState() if config.rx_mode is None else in_mode(FilterState(), config.rx_mode)
    return NetState(mac=config.mac, filter=received)


class NetworkDevice:
    """Queues and their roles, configuration, control commands (virtio 1.3 §5.1)."""

    def __init__(self, state: FunctionState) -> None:
        self._state = state
        self.virtio = VirtioDevice(state.virtio, self, state.config.vectors)
        self.net: NetState = state.net
        self.max_pairs = pairs(state.config)
        self._offered = offered(state.config)
        self.owner = Owner(state.admin, legacy=state.config.legacy_access)
        self.admin_queue = queue_count(state.config) if has_admin(state.config) else None

    @property
    def config(self) -> FunctionConfig:
        return self._state.config

    # ---- the device type

    @property
    def queue_size(self) -> int:
        """The largest size, of every queue."""
        return self.config.queue_size

    def offered(self) -> int:
        """All feature bits on offer, through either interface."""
        return self._offered

    def hidden_from_legacy(self) -> int:
        """Bits whose configuration the I/O BAR that a host emulates for a VF leaves out: it ends with the status."""
        return BEYOND_STATUS if self.config.virtual else 0

    def has(self, bit: int) -> bool:
        """Whether a feature is in force."""
        return self.virtio.has(bit)

    def has_all(self, features: int) -> bool:
        """Whether all of a word of features are in force."""
        return not features & ~self.virtio.features

    @property
    def _active_pairs(self) -> int:
        """N of §5.1.2: without MQ and RSS there is one pair, and the control queue has the index 2."""
        several = f.mask_of(f.NET_MQ, f.NET_RSS)
        return self.max_pairs if self._offered & self._state.virtio.driver_features & several else 1

    @property
    def queues(self) -> int:
        """How many queues the driver may use, with the features it has accepted."""
        return 2 * self._active_pairs + has_control(self.config)

    def queue_exists(self, index: int) -> bool:
        """Whether the driver may use a queue, with the features it has accepted."""
        if index == self.admin_queue:
            return bool(self._state.virtio.driver_features >> f.ADMIN_VQ & 1)
        return index < self.queues

    def kind_of(self, queue: int) -> Role | None:
        """What one of the device type's queues is for; None if there is no such queue."""
        return self.role(queue) if queue < self.queues else None

    def role(self, index: int) -> Role:
        """What a queue is for (§5.1.2)."""
        if index >= 2 * self._active_pairs:
            return "control"
        return "transmit" if index % 2 else "receive"

    def start(self, index: int, queue: QueueState) -> StartQueue:
        """How a queue is to be served, from the features in force."""
        features = self.virtio.features
        mergeable = bool(features >> f.NET_MRG_RXBUF & 1)
        return StartQueue(
            queue=index,
            role=self.role(index),
            size=self.virtio.size_of(queue),
            descriptor=queue.descriptor,
            driver=queue.driver,
            device=queue.device,
            header=self._header,
            mergeable=mergeable,
            event_index=bool(features >> f.EVENT_IDX & 1),
            indirect=bool(features >> f.INDIRECT_DESC & 1),
            vector=queue.vector,
            position=FRESH_PACKED if features >> f.RING_PACKED & 1 else 0,
            packed=bool(features >> f.RING_PACKED & 1),
            in_order=bool(features >> f.IN_ORDER & 1),
        )

    @property
    def _header(self) -> int:
        """Bytes of virtio_net_hdr, with the features in force (§5.1.6)."""
        if self.has(f.NET_HASH_REPORT):
            return n.HASH_HEADER
        short = self._state.virtio.mode == "legacy" and not self.has(f.NET_MRG_RXBUF)
        return n.LEGACY_HEADER if short else n.HEADER

    def settled(self) -> Effects:
        """VLANs are filtered from now on if the driver took that up, starting with none (§5.1.6.5.3).

        Offloads are those negotiated until a command says less (§5.1.6.5.7).
        """
        self.net.offloads = None
        return self.filter_effects() + self.offload_effects()

    def reset(self) -> Effects:
        """All as the operator has it: the address, no filters, one pair, nothing to announce."""
        fresh = fresh_state(self.config)
        for field in NetState.__struct_fields__:
            setattr(self.net, field, getattr(fresh, field))
        self.owner.reset()
        return self.filter_effects() + self.offload_effects() + self.steering_effects() + self._held_back()

    def queue_reset(self, index: int) -> Effects:
        """Enabled again, a queue goes by what holds for its kind (§5.1.6.5.9.5)."""
        return coalescing.restarted(self.config, self.net.coalescing, index)

    def moves_frames(self, queue: int) -> bool:
        """Whether a queue is an enabled receive or transmit queue."""
        return self.virtio.running(queue) and self.role(queue) != "control"

    # ---- filters, offloads and commands

    def filter_effects(self) -> Effects:
        """The filter, as it is now."""
        return effects(set_filter(self.net.filter, self.net.mac, self.has(f.NET_CTRL_VLAN)))

    def offload_effects(self) -> Effects:
        """The offloads, as they are now; none whose requirements were taken away by a command."""
        features = self.virtio.features
        guest = n.GUEST_OFFLOADS if self.net.offloads is None else self.net.offloads
        return effects(SetOffloads(sound(features & (guest | n.HOST_OFFLOADS))))

    def steering_effects(self) -> Effects:
        """Which receive queue a frame goes to, as it is now."""
        return steering(self.net, self.has(f.NET_HASH_REPORT))

    def command(self, queue: int, data: bytes, room: int, counted: Counted) -> tuple[bytes, Effects]:
        """A chain of the control or administration queue: its readable bytes, and how many can be written.

        One that was on its way when its driver reset the device is nobody's any more.
        """
        if not self.virtio.live:
            return b"", note(f"queue {queue}: a command of before the reset is not carried out", "debug")
        if queue == self.admin_queue and self.queue_exists(queue):
            return self.owner.execute(data, room)
        if not self.queue_exists(queue) or self.role(queue) != "control":
            return b"", self.virtio.fail(f"queue {queue}: a command on a queue that is not the control queue")
        if room < 1:
            return b"", self.virtio.fail(f"queue {queue}: a control command without a byte for its answer")
        answer, result = control.execute(self, data, counted)
        return answer[:room], result

    # ---- configuration

    def read_config(self, offset: int, size: int) -> bytes:
        """Any bytes of the structure, zeros past its end."""
        self.virtio.config_read()
        return config_bytes(self.config, self.net, self._offered)[offset : offset + size].ljust(size, b"\0")

    def write_config(self, offset: int, data: bytes) -> Effects:
        """A legacy driver without CTRL_MAC_ADDR sets its address here; nothing else can be written (§5.1.4.3).

        Such drivers write from the first byte to the last, so the filter follows with the last one (§5.1.6.5.2.3).
        """
        if self._state.virtio.mode == "modern" or self.has(f.NET_CTRL_MAC_ADDR) or offset >= n.MAC_BYTES:
            return NOTHING
        self.net.mac = patched_mac(self.net.mac, offset, data)
        return self.filter_effects() if offset + len(data) >= n.MAC_BYTES else NOTHING

    # ---- the port

    def link_effects(self) -> Effects:
        """Whether the port passes frames."""
        return effects(SetLink(self.config.link_up))

    def limit_effects(self) -> Effects:
        """How long a frame may be."""
        return effects(SetFrameLimit(self.config.mtu + n.ETHERNET_OVERHEAD))

    def port_effects(self) -> Effects:
        """All that the port of this function must know, driver or not."""
        port = self.link_effects() + self.limit_effects() + self.filter_effects() + self.offload_effects()
        return port + self.steering_effects() + self._held_back()

    def _held_back(self) -> Effects:
        """How interrupts are held back, where they are."""
        return coalescing.held_back(self.config, self.net.coalescing, range(2 * self.max_pairs))

    def moderation_effects(self) -> Effects:
        """How interrupts are held back, of every queue that moves frames."""
        return coalescing.settings(self.config, self.net.coalescing, range(2 * self.max_pairs))
