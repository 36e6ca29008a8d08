"""The whole state of a virtio-net function: one structure for recovery, live update and restart."""

from typing import Literal, TypeAlias

import msgspec

from softdpu.pci.sriov import Sriov
from softdpu.pci.state import PciState
from softdpu.spec.vfio import State
from softdpu.virtio.admin.state import AdminState
from softdpu.virtio.state import VirtioState

Layout: TypeAlias = Literal["modern", "transitional", "legacy"]


class Moderation(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """How the operator has interrupts of all receive and transmit queues held back; with 0 of either they are not."""

    packets: int = 0  # at most so many buffers used
    microseconds: int = 0  # at most so long, counted from the last interrupt, or anew from each buffer used
    mode: Literal["event", "cqe"] = "event"
    dynamic: bool = False  # instead: as busy as the queue is


class FunctionConfig(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What the operator decides. ``Function.create`` checks it."""

    layout: Layout
    mac: bytes  # 6 bytes, unicast
    mtu: int = 1500  # octets, 68 to 9216
    queues: int = 3  # virtqueues: two a pair, and the control queue where there are 3 or more; 2 to 65
    queue_size: int = 256  # descriptors of each, a power of two, 2 to 32768
    vectors: int = 4  # MSI-X vectors, up to 2048; 0: no MSI-X capability, INTx only
    features: int = 0  # feature bits beyond the default ones
    speed: int = 25000  # Mb/s, or 0xffffffff for unknown
    link_up: bool = True
    mrg_rxbuf: bool = True  # whether VIRTIO_NET_F_MRG_RXBUF may be offered
    sriov: Sriov | None = None  # of a physical function that can have VFs: it has an administration virtqueue too
    virtual: bool = False  # a VF: its owner reaches its legacy registers by administration commands
    legacy_access: bool = False  # of a PF: its VFs can be driven by legacy commands; of a VF: it can
    packed_vq: bool = False  # whether VIRTIO_F_RING_PACKED is offered without being among the features
    moderation: Moderation = Moderation()  # until the driver commands otherwise
    rx_mode: int | None = None  # ``filters.MODES`` until the driver commands others; None: all frames pass


class FilterState(msgspec.Struct, omit_defaults=True):
    """Which frames the driver asked for (virtio 1.3 §5.1.6.5.1-3), besides its own address."""

    promiscuous: bool = True  # until the driver says which frames it wants
    all_multicast: bool = False
    all_unicast: bool = False
    no_multicast: bool = False
    no_unicast: bool = False
    no_broadcast: bool = False
    unicast: tuple[bytes, ...] = ()
    multicast: tuple[bytes, ...] = ()
    unicast_overflow: bool = False  # more addresses than the table holds: all pass
    multicast_overflow: bool = False
    vlans: bytes = b""  # 512 bytes, bit n = VLAN n passes; empty: none


class HashState(msgspec.Struct, omit_defaults=True):
    """Receive-side scaling and hash reports, as last commanded (virtio 1.3 §5.1.6.5.6.4, §5.1.6.5.7)."""

    steer: bool = False  # by the table below; otherwise a flow follows the transmit queue that it last used
    types: int = 0  # bits of HASH_TYPES
    key: bytes = b""  # up to 40 bytes; what is missing is zero
    table: tuple[int, ...] = ()  # receive queues, as pairs: a power of two of them, up to 128, while ``steer``
    unclassified: int = 0  # the receive queue, as a pair, for frames without a hash


Coalescing: TypeAlias = tuple[int, int]  # packets and microseconds, 32 bits each, that an interrupt waits for


class CoalescingState(msgspec.Struct, omit_defaults=True):
    """How interrupts are held back, as last commanded (virtio 1.3 §5.1.6.5.9)."""

    receive: Coalescing | None = None  # of a receive queue when it is enabled; None: as the operator has it
    transmit: Coalescing | None = None  # of a transmit queue
    queues: dict[int, Coalescing] = {}  # of those that differ from that now


class NetState(msgspec.Struct, omit_defaults=True):
    """The part of a network device."""

    mac: bytes  # as the driver sees it; the operator's after a reset
    announce: bool = False  # VIRTIO_NET_S_ANNOUNCE is set: the driver was asked to announce itself
    offloads: int | None = None  # feature bits of GUEST_OFFLOADS left on by the driver; None: all it has negotiated
    pairs: int = 1  # receive/transmit pairs in use
    hash: HashState = msgspec.field(default_factory=HashState)
    coalescing: CoalescingState = msgspec.field(default_factory=CoalescingState)
    filter: FilterState = msgspec.field(default_factory=FilterState)


class MigrationState(msgspec.Struct, omit_defaults=True):
    """How far its VMM has come with moving it (``softdpu.net.migration``)."""

    now: int = State.RUNNING  # of ``softdpu.spec.vfio.State``
    unread: bytes = b""  # of the stream, what the VMM has still to read
    written: bytes = b""  # of a stream that the VMM writes, what has not been dealt with
    begun: bool = False  # such a stream has begun
    arrived: bool = False  # it was another function that came here, and has not run yet


class FunctionState(msgspec.Struct, omit_defaults=True, tag_field="export", tag="vfio-user"):
    """Everything that a function is: ``Function.restore`` of it goes on where the former function was."""

    config: FunctionConfig
    virtio: VirtioState
    net: NetState
    pci: PciState = msgspec.field(default_factory=PciState)
    admin: AdminState = msgspec.field(default_factory=AdminState)
    migration: MigrationState = msgspec.field(default_factory=MigrationState)
