"""A virtio-net function behind vhost-user: the same views as ``softdpu.net.device.Function``, of a device whose
registers and control queue are the VMM's. No socket, no clock.

    function = VhostFunction.create(FunctionConfig(layout="transitional", mac=bytes.fromhex("0cc47aff2293")))
    function.description                    # what the datapath answers the protocol from
    function.negotiated(agreement)          # the front end has gone a step further
    effects = function.set_mtu(9000)
"""

from __future__ import annotations

import msgspec

from softdpu.net import backend
from softdpu.net.backend import Agreement, BackEnd, Ring
from softdpu.net.coalescing import holds, of_operator
from softdpu.net.config import config_bytes
from softdpu.net.device import QueueView
from softdpu.net.features import DEFAULT, IMPLEMENTED, PACKED, pairs, withheld
from softdpu.net.mistakes import BadState, DriverBound, NotOurs
from softdpu.net.settings import check, check_mac, check_mtu, check_speed, moderated
from softdpu.net.state import FunctionConfig, NetState
from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.spec import virtio_pci as v
from softdpu.virtio.effects import NO_VECTOR, SetCoalescing, SetDeviceConfig, SetFrameLimit, SetLink
from softdpu.virtio.negotiation import Negotiation, Verdict
from softdpu.virtio.outcome import NOTHING, Effects, effects
from softdpu.virtio.state import Mode

# The VMM answers the control queue, so what takes a command there is its own to offer, or nobody's; but QEMU leaves
# these two to the back end.
_ASKED_OF_THE_BACK_END = f.mask_of(f.NET_MQ, f.NET_GUEST_ANNOUNCE)
_OF_THE_CONTROL_QUEUE = f.mask_of(
    f.NET_CTRL_VQ,
    f.NET_HASH_REPORT,  # the hash's types and key come by command
    *(bit for bit, feature in f.FEATURES.items() if f.NET_CTRL_VQ in feature.requires),
)
_OF_THE_VMM = (_OF_THE_CONTROL_QUEUE & ~_ASKED_OF_THE_BACK_END) | f.mask_of(f.ACCESS_PLATFORM, f.SR_IOV, f.ADMIN_VQ)
_FAULTS_KEPT = 8


class VhostState(msgspec.Struct, omit_defaults=True, tag_field="export", tag="vhost-user"):
    """Everything that the function is, but what the datapath tells anew to each controller."""

    config: FunctionConfig
    client: bool = False
    faults: tuple[str, ...] = ()


class VhostFunction:
    """One function exported over vhost-user. ``state`` is alive: encode it, or copy it, before the next call."""

    def __init__(self, state: VhostState) -> None:
        """Of a state known to be good: others use ``create`` and ``restore``."""
        self.state = state
        self.agreement: Agreement | None = None
        self.description: BackEnd = back_end(state.config, state.client)

    @classmethod
    def create(cls, config: FunctionConfig, client: bool = False) -> VhostFunction:
        """A function nobody is connected to. Raises ``Mistake`` for a configuration that cannot be."""
        check(config)
        return cls(VhostState(config, client))

    @classmethod
    def restore(cls, state: VhostState) -> VhostFunction:
        """The function that a state was taken of. Raises ``BadState`` if it is of none."""
        try:
            plain = msgspec.to_builtins(state, builtin_types=(bytes,))
            copy = msgspec.convert(plain, VhostState, builtin_types=(bytes,))
            check(copy.config)
        except (TypeError, RecursionError, ValueError) as error:
            raise BadState(f"saved state: {error}") from error
        return cls(copy)

    # ---- what the datapath tells

    def negotiated(self, agreement: Agreement) -> None:
        """The front end has gone a step further, or has left."""
        self.agreement = agreement

    def disconnected(self) -> Effects:
        """The front end has gone."""
        self.agreement = None
        return NOTHING

    def queue_fault(self, queue: int, cause: str) -> Effects:
        """A queue was stopped because the driver broke a rule of the ring."""
        kept = (*self.state.faults, f"queue {queue}: {cause}")
        self.state.faults = kept[-_FAULTS_KEPT:]
        return NOTHING

    # ---- the operator's side

    def set_mac(self, mac: bytes) -> Effects:
        """Another address; no driver may be bound."""
        check_mac(mac)
        self._unbound("the MAC address")
        return self._configure(mac=mac)

    def set_mtu(self, mtu: int) -> Effects:
        """Another MTU; no driver may be bound, since it must not change under one (virtio 1.3 §5.1.4.1)."""
        check_mtu(mtu)
        self._unbound("the MTU")
        return self._configure(mtu=mtu) + self._limit()

    def set_link(self, up: bool) -> Effects:
        """Link up or down."""
        if up == self.state.config.link_up:
            return NOTHING
        return effects(SetLink(up)) + self._configure(link_up=up)

    def set_speed(self, speed: int) -> Effects:
        """The speed shown to the driver, Mb/s."""
        check_speed(speed)
        return NOTHING if speed == self.state.config.speed else self._configure(speed=speed)

    def set_moderation(self, **changes: int | str) -> Effects:
        """How interrupts are held back, fields of ``Moderation``."""
        self._configure(moderation=moderated(self.state.config.moderation, changes))
        return effects(*map(self.coalescing, range(self.description.queues)))

    def start_effects(self) -> Effects:
        """What brings a port that knows nothing to this function's present state."""
        return effects(SetLink(self.state.config.link_up)) + self._limit() + self.connected()

    def set_rx_mode(self, _modes: int) -> Effects:
        """Never: what a driver receives it tells the VMM, by a control queue of which nothing is heard here."""
        raise NotOurs("the receive mode is the VMM's over vhost-user: its driver tells it there what it receives")

    def set_state(self, _status: int) -> Effects:
        """Never: the registers are the VMM's."""
        raise NotOurs("the device status is the VMM's over vhost-user: use -l 0 or -l 1 for the link")

    def connected(self) -> Effects:
        """A front end has come: what was set of the queues went with the last one."""
        return effects(*filter(holds, map(self.coalescing, range(self.description.queues))))

    def _limit(self) -> Effects:
        return effects(SetFrameLimit(self.state.config.mtu + n.ETHERNET_OVERHEAD))

    def _unbound(self, what: str) -> None:
        if self.runs:
            raise DriverBound(f"{what} cannot be changed while a driver is bound: unbind the driver in the guest first")

    def _configure(self, **changes: object) -> Effects:
        self.state.config = msgspec.structs.replace(self.state.config, **changes)
        self.description = back_end(self.state.config, self.state.client)
        return effects(SetDeviceConfig(self.description.config))

    # ---- what there is to see

    @property
    def device_features(self) -> int:
        """All virtio feature bits on offer."""
        return self.description.features

    @property
    def driver_features(self) -> int:
        """The bits that the front end set: what the driver accepted of what the VMM showed it of the offer."""
        return self.agreement.features if self.agreement else 0

    @property
    def status(self) -> int:
        """The device status: as the front end set it, else what its steps come to."""
        if self.agreement is None:
            return 0
        if self.agreement.protocol_features >> backend.STATUS & 1:
            return self.agreement.status
        return self.agreement.status | _steps(self.agreement)

    @property
    def total_vfs(self) -> int:
        """The PCI function is the VMM's: it has no VFs of ours."""
        return 0

    enabled_vfs = total_vfs

    @property
    def runs(self) -> bool:
        """Whether queues run, so a driver is bound. A front end without SET_STATUS does not say when it has gone."""
        return self.agreement is not None and any(ring.started for ring in self.agreement.rings)

    @property
    def enabled_queues(self) -> int:
        """How many queues run."""
        return sum(queue.enabled for queue in self.queues)

    @property
    def queues(self) -> tuple[QueueView, ...]:
        """All virtqueues that the back end has. Vectors are the VMM's own."""
        rings = self.agreement.rings if self.agreement else ()
        known = (*rings, *[None] * (self.description.queues - len(rings)))
        return tuple(self._view(index, ring) for index, ring in enumerate(known))

    def _view(self, index: int, ring: Ring | None) -> QueueView:
        if ring is None:
            return QueueView(index, self.state.config.queue_size, NO_VECTOR, False, index, 0, 0, 0)
        size, runs = ring.size or self.state.config.queue_size, ring.started and ring.enabled
        return QueueView(index, size, NO_VECTOR, runs, index, ring.descriptor, ring.driver, ring.device)

    @property
    def transitional_mode(self) -> Mode | None:
        """Which interface the driver uses, as VERSION_1 tells; None: no driver."""
        if not self.status & v.DRIVER:
            return None
        return "modern" if self.driver_features >> f.VERSION_1 & 1 else "legacy"

    def coalescing(self, queue: int) -> SetCoalescing:
        """How a queue's interrupts are held back: by the operator only, since the control queue is the VMM's."""
        return of_operator(self.state.config.moderation, queue)

    @property
    def faults(self) -> tuple[str, ...]:
        """The most recent rules that a driver broke, oldest first."""
        return self.state.faults

    @property
    def negotiation(self) -> list[Verdict]:
        """Each feature bit: offered, accepted, and why or why not."""
        accepted, mode = self.driver_features, self.transitional_mode
        return Negotiation(self.device_features, left_out(self.state.config), accepted, accepted, mode).explain()


def back_end(config: FunctionConfig, client: bool) -> BackEnd:
    """What the back end of such a function offers."""
    return BackEnd(
        features=features(config),
        protocol_features=backend.PROTOCOL_FEATURES,
        config=config_bytes(config, NetState(mac=config.mac), features(config)),
        queues=2 * pairs(config),
        queue_size=config.queue_size,
        client=client,
    )


def features(config: FunctionConfig) -> int:
    """The virtio feature bits on offer to a front end."""
    return (DEFAULT | PACKED | config.features & IMPLEMENTED) & ~f.mask_of(*left_out(config))


def left_out(config: FunctionConfig) -> dict[int, str]:
    """The bits that the device implements and a back end does not offer, each with the reason."""
    reasons = withheld(config)
    reasons.pop(f.NET_GUEST_ANNOUNCE, None)  # the control queue that it needs is the VMM's, and always there
    if config.layout != "legacy":
        reasons.pop(f.RING_PACKED, None)  # the VMM has a setting of its own for it
    return reasons | dict.fromkeys(f.bits_of(_OF_THE_VMM & IMPLEMENTED), "not offered: over vhost-user it is the VMM's")


def _steps(agreement: Agreement) -> int:
    """The device status that a front end without SET_STATUS has come to."""
    if not agreement.features:
        return 0
    status = v.ACKNOWLEDGE | v.DRIVER | (v.FEATURES_OK if agreement.features >> f.VERSION_1 & 1 else 0)
    return status | (v.DRIVER_OK if any(ring.started for ring in agreement.rings) else 0)
