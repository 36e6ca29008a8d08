"""What a call on a function asks the outside to do. Data only: the caller does it, in order.

The same structures travel to the datapath (see ``softdpu.datapath.messages``).
"""

from typing import Literal, TypeAlias

import msgspec

NO_VECTOR = 0xFFFF  # VIRTIO_MSI_NO_VECTOR

Role: TypeAlias = Literal["receive", "transmit", "control"]
Pace: TypeAlias = Literal["event", "cqe", "adaptive"]


class Effect(msgspec.Struct, frozen=True, tag_field="type", tag=str):
    """Base of all effects; the tag on the wire is the class name."""


class StartQueue(Effect, frozen=True):
    """Begin to serve a virtqueue. Addresses are guest-physical (IOVA) bytes; a started queue is restarted."""

    queue: int
    role: Role
    size: int  # descriptors: 1 to 32768, of a split queue a power of two
    descriptor: int
    driver: int  # available ring, or driver event suppression
    device: int  # used ring, or device event suppression
    header: int  # bytes of virtio_net_hdr: 10, 12 or 20
    mergeable: bool  # VIRTIO_NET_F_MRG_RXBUF
    event_index: bool  # VIRTIO_F_EVENT_IDX
    indirect: bool  # VIRTIO_F_INDIRECT_DESC
    vector: int  # MSI-X vector or NO_VECTOR
    position: int = 0  # next index of the available ring; packed: next descriptor, its wrap counter in bit 15
    packed: bool = False  # VIRTIO_F_RING_PACKED
    in_order: bool = False  # VIRTIO_F_IN_ORDER
    resume: bool = False  # of a split ring: go on where its used ring says, since nothing else is known of it
    answer: bytes | None = None  # of a control queue: to its first command, which was executed elsewhere


class StopQueue(Effect, frozen=True):
    """Cease to serve a virtqueue; done when no worker touches it any more (virtio 1.3 §2.6.1)."""

    queue: int


class Reset(Effect, frozen=True):
    """Stop every queue; ISR, vectors, filter and pairs return to their power-on values."""


class SetVector(Effect, frozen=True):
    """The MSI-X vector of a queue changed."""

    queue: int
    vector: int


class SetConfigVector(Effect, frozen=True):
    """The MSI-X vector of configuration changes changed."""

    vector: int


class SetInterrupts(Effect, frozen=True):
    """How the function interrupts: MSI-X enabled in its capability, INTx disabled in its command register."""

    msix: bool
    intx_disabled: bool


class RaiseConfig(Effect, frozen=True):
    """Interrupt the driver for a configuration change (ISR bit 1, or the configuration vector)."""


class SetPending(Effect, frozen=True):
    """Interrupts that a function has still to deliver, besides those that it knows of: ISR bits, MSI-X vectors."""

    isr: int
    vectors: tuple[int, ...]


class AcknowledgeIsr(Effect, frozen=True):
    """The driver read these ISR bits by way of the controller: clear them."""

    bits: int


class SetFilter(Effect, frozen=True):
    """Which frames the driver receives (virtio 1.3 §5.1.6.5.1-3). MAC addresses are 6 bytes."""

    promiscuous: bool
    all_multicast: bool
    all_unicast: bool
    no_multicast: bool
    no_unicast: bool
    no_broadcast: bool
    addresses: tuple[bytes, ...]  # unicast and multicast, the device's own first
    vlans: bytes | None  # 512 bytes, bit n = VLAN n passes; None: VLANs are not filtered


class SetPairs(Effect, frozen=True):
    """How many receive/transmit queue pairs the driver uses."""

    pairs: int


class SetHash(Effect, frozen=True):
    """Receive-side scaling when ``steer``, else automatic steering; queues with a header of 20 report the hash.

    Receive queues are numbered as pairs. Virtio 1.3 §5.1.6.4.3, §5.1.6.5.7.
    """

    steer: bool
    types: int  # enabled hash types
    key: bytes  # up to 40 bytes; what is missing is zero
    table: tuple[int, ...]  # a power of two of entries while ``steer``
    unclassified: int


class SetCoalescing(Effect, frozen=True):
    """How interrupts of a receive or transmit queue are held back; with 0 of either they are not.

    Time counts from the first buffer that is used, or at the pace of a network card: from the last interrupt ("event"),
    anew from each buffer ("cqe"). "adaptive" takes no numbers: they follow how busy the queue is.
    """

    queue: int
    packets: int  # at most so many buffers used
    microseconds: int  # at most so long
    pace: Pace | None = None


class SetLink(Effect, frozen=True):
    """Whether the function's port passes frames."""

    up: bool


class SetFabric(Effect, frozen=True):
    """Whether the function's port takes part in the built-in switch; otherwise only its representor reaches it."""

    on: bool


class SetFrameLimit(Effect, frozen=True):
    """Longest frame that the port takes: bytes of Ethernet frame without FCS (MTU + 18)."""

    octets: int


class SetOffloads(Effect, frozen=True):
    """Stateless offloads in force: feature bits CSUM, HOST_TSO4/6, HOST_ECN, HOST_USO, and those of the guest's."""

    features: int


class SetUplink(Effect, frozen=True):
    """Which uplink serves the function, 0 for p0: of frames for outside, and of those from there."""

    uplink: int


class Kick(Effect, frozen=True):
    """The driver notified a queue by way of the controller."""

    queue: int


class SetDeviceConfig(Effect, frozen=True):
    """Another device configuration of a vhost-user function (struct virtio_net_config); its front end is told."""

    config: bytes


class Freeze(Effect, frozen=True):
    """Leave the function's rings and its driver alone, until told to go on; queues started meanwhile wait too."""

    on: bool


class Announce(Effect, frozen=True):
    """Let everyone know where this address is now: a reverse ARP request in the guest's name (RFC 903)."""

    address: bytes  # 6 bytes


AnyEffect: TypeAlias = (
    StartQueue
    | StopQueue
    | Reset
    | SetVector
    | SetConfigVector
    | SetInterrupts
    | RaiseConfig
    | AcknowledgeIsr
    | SetFilter
    | SetPairs
    | SetHash
    | SetCoalescing
    | SetLink
    | SetFabric
    | SetFrameLimit
    | SetOffloads
    | Kick
    | SetUplink
    | SetDeviceConfig
    | Freeze
    | SetPending
    | Announce
)
