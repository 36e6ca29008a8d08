"""Feature bits: number, name, what each depends on. Clauses: virtio 1.3 §5.1.3 (network), §6 (all devices)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class View(Enum):
    """Through which interface a bit can be seen."""

    BOTH = "legacy and modern"
    LEGACY = "legacy only"  # §6.3: of no use to a modern driver, and not shown to it
    MODERN = "modern only"  # bits from 32 up cannot be seen through the legacy interface, §4.1.4.10


@dataclass(frozen=True)
class Feature:
    """One feature bit. ``requires``: each of them must be there too; ``requires_any``: one of them must."""

    bit: int
    name: str
    requires: tuple[int, ...] = ()
    requires_any: tuple[int, ...] = ()
    view: View = View.BOTH

    @property
    def mask(self) -> int:
        return 1 << self.bit


NET_CSUM, NET_GUEST_CSUM, NET_CTRL_GUEST_OFFLOADS, NET_MTU, NET_MAC = 0, 1, 2, 3, 5
NET_GUEST_TSO4, NET_GUEST_TSO6, NET_GUEST_ECN, NET_GUEST_UFO = 7, 8, 9, 10
NET_HOST_TSO4, NET_HOST_TSO6, NET_HOST_ECN, NET_HOST_UFO = 11, 12, 13, 14
NET_MRG_RXBUF, NET_STATUS, NET_CTRL_VQ, NET_CTRL_RX, NET_CTRL_VLAN, NET_CTRL_RX_EXTRA = 15, 16, 17, 18, 19, 20
NET_GUEST_ANNOUNCE, NET_MQ, NET_CTRL_MAC_ADDR = 21, 22, 23
NOTIFY_ON_EMPTY, ANY_LAYOUT, INDIRECT_DESC, EVENT_IDX = 24, 27, 28, 29
VERSION_1, ACCESS_PLATFORM, RING_PACKED, IN_ORDER, ORDER_PLATFORM, SR_IOV = 32, 33, 34, 35, 36, 37
NOTIFICATION_DATA, NOTIF_CONFIG_DATA, RING_RESET, ADMIN_VQ, SUSPEND = 38, 39, 40, 41, 43
NET_DEVICE_STATS, NET_HASH_TUNNEL, NET_VQ_NOTF_COAL, NET_NOTF_COAL = 50, 51, 52, 53
NET_GUEST_USO4, NET_GUEST_USO6, NET_HOST_USO, NET_HASH_REPORT = 54, 55, 56, 57
NET_GUEST_HDRLEN, NET_RSS, NET_RSC_EXT, NET_STANDBY, NET_SPEED_DUPLEX = 59, 60, 61, 62, 63

_NEEDS_CONTROL = (NET_CTRL_VQ,)
_LEGACY, _MODERN = View.LEGACY, View.MODERN

NET_FEATURES: tuple[Feature, ...] = (
    Feature(NET_CSUM, "VIRTIO_NET_F_CSUM"),
    Feature(NET_GUEST_CSUM, "VIRTIO_NET_F_GUEST_CSUM"),
    Feature(NET_CTRL_GUEST_OFFLOADS, "VIRTIO_NET_F_CTRL_GUEST_OFFLOADS", _NEEDS_CONTROL),
    Feature(NET_MTU, "VIRTIO_NET_F_MTU"),
    Feature(NET_MAC, "VIRTIO_NET_F_MAC"),
    Feature(6, "VIRTIO_NET_F_GSO", view=_LEGACY),
    Feature(NET_GUEST_TSO4, "VIRTIO_NET_F_GUEST_TSO4", (NET_GUEST_CSUM,)),
    Feature(NET_GUEST_TSO6, "VIRTIO_NET_F_GUEST_TSO6", (NET_GUEST_CSUM,)),
    Feature(NET_GUEST_ECN, "VIRTIO_NET_F_GUEST_ECN", requires_any=(NET_GUEST_TSO4, NET_GUEST_TSO6)),
    Feature(NET_GUEST_UFO, "VIRTIO_NET_F_GUEST_UFO", (NET_GUEST_CSUM,)),
    Feature(NET_HOST_TSO4, "VIRTIO_NET_F_HOST_TSO4", (NET_CSUM,)),
    Feature(NET_HOST_TSO6, "VIRTIO_NET_F_HOST_TSO6", (NET_CSUM,)),
    Feature(NET_HOST_ECN, "VIRTIO_NET_F_HOST_ECN", requires_any=(NET_HOST_TSO4, NET_HOST_TSO6)),
    Feature(NET_HOST_UFO, "VIRTIO_NET_F_HOST_UFO", (NET_CSUM,)),
    Feature(NET_MRG_RXBUF, "VIRTIO_NET_F_MRG_RXBUF"),
    Feature(NET_STATUS, "VIRTIO_NET_F_STATUS"),
    Feature(NET_CTRL_VQ, "VIRTIO_NET_F_CTRL_VQ"),
    Feature(NET_CTRL_RX, "VIRTIO_NET_F_CTRL_RX", _NEEDS_CONTROL),
    Feature(NET_CTRL_VLAN, "VIRTIO_NET_F_CTRL_VLAN", _NEEDS_CONTROL),
    Feature(NET_CTRL_RX_EXTRA, "VIRTIO_NET_F_CTRL_RX_EXTRA", _NEEDS_CONTROL),
    Feature(NET_GUEST_ANNOUNCE, "VIRTIO_NET_F_GUEST_ANNOUNCE", _NEEDS_CONTROL),
    Feature(NET_MQ, "VIRTIO_NET_F_MQ", _NEEDS_CONTROL),
    Feature(NET_CTRL_MAC_ADDR, "VIRTIO_NET_F_CTRL_MAC_ADDR", _NEEDS_CONTROL),
    Feature(NET_DEVICE_STATS, "VIRTIO_NET_F_DEVICE_STATS", _NEEDS_CONTROL, view=_MODERN),
    Feature(NET_HASH_TUNNEL, "VIRTIO_NET_F_HASH_TUNNEL", _NEEDS_CONTROL, (NET_RSS, NET_HASH_REPORT), _MODERN),
    Feature(NET_VQ_NOTF_COAL, "VIRTIO_NET_F_VQ_NOTF_COAL", _NEEDS_CONTROL, view=_MODERN),
    Feature(NET_NOTF_COAL, "VIRTIO_NET_F_NOTF_COAL", _NEEDS_CONTROL, view=_MODERN),
    Feature(NET_GUEST_USO4, "VIRTIO_NET_F_GUEST_USO4", (NET_GUEST_CSUM,), view=_MODERN),
    Feature(NET_GUEST_USO6, "VIRTIO_NET_F_GUEST_USO6", (NET_GUEST_CSUM,), view=_MODERN),
    Feature(NET_HOST_USO, "VIRTIO_NET_F_HOST_USO", (NET_CSUM,), view=_MODERN),
    Feature(NET_HASH_REPORT, "VIRTIO_NET_F_HASH_REPORT", view=_MODERN),
    Feature(NET_GUEST_HDRLEN, "VIRTIO_NET_F_GUEST_HDRLEN", view=_MODERN),
    Feature(NET_RSS, "VIRTIO_NET_F_RSS", _NEEDS_CONTROL, view=_MODERN),
    Feature(NET_RSC_EXT, "VIRTIO_NET_F_RSC_EXT", requires_any=(NET_HOST_TSO4, NET_HOST_TSO6), view=_MODERN),
    Feature(NET_STANDBY, "VIRTIO_NET_F_STANDBY", view=_MODERN),
    Feature(NET_SPEED_DUPLEX, "VIRTIO_NET_F_SPEED_DUPLEX", view=_MODERN),
)

COMMON_FEATURES: tuple[Feature, ...] = (
    Feature(NOTIFY_ON_EMPTY, "VIRTIO_F_NOTIFY_ON_EMPTY", view=_LEGACY),
    Feature(ANY_LAYOUT, "VIRTIO_F_ANY_LAYOUT", view=_LEGACY),
    Feature(INDIRECT_DESC, "VIRTIO_F_INDIRECT_DESC"),
    Feature(EVENT_IDX, "VIRTIO_F_EVENT_IDX"),
    Feature(VERSION_1, "VIRTIO_F_VERSION_1", view=_MODERN),
    Feature(ACCESS_PLATFORM, "VIRTIO_F_ACCESS_PLATFORM", view=_MODERN),
    Feature(RING_PACKED, "VIRTIO_F_RING_PACKED", view=_MODERN),
    Feature(IN_ORDER, "VIRTIO_F_IN_ORDER", view=_MODERN),
    Feature(ORDER_PLATFORM, "VIRTIO_F_ORDER_PLATFORM", view=_MODERN),
    Feature(SR_IOV, "VIRTIO_F_SR_IOV", view=_MODERN),
    Feature(NOTIFICATION_DATA, "VIRTIO_F_NOTIFICATION_DATA", view=_MODERN),
    Feature(NOTIF_CONFIG_DATA, "VIRTIO_F_NOTIF_CONFIG_DATA", view=_MODERN),
    Feature(RING_RESET, "VIRTIO_F_RING_RESET", view=_MODERN),
    Feature(ADMIN_VQ, "VIRTIO_F_ADMIN_VQ", view=_MODERN),
    Feature(SUSPEND, "VIRTIO_F_SUSPEND", view=_MODERN),
)

FEATURES: dict[int, Feature] = {
    feature.bit: feature for feature in sorted(NET_FEATURES + COMMON_FEATURES, key=lambda feature: feature.bit)
}


def mask_of(*bits: int) -> int:
    """The feature word with these bits set."""
    return sum(1 << bit for bit in set(bits))


def bits_of(word: int) -> list[int]:
    """The numbers of the bits set in a feature word of any width, lowest first."""
    found = []
    while word:
        lowest = word & -word
        found.append(lowest.bit_length() - 1)
        word ^= lowest
    return found


def name_of(bit: int) -> str:
    """The name of a bit, or ``bit 99`` where it has none."""
    feature = FEATURES.get(bit)
    return feature.name if feature else f"bit {bit}"
