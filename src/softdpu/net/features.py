"""Which feature bits this device has, which it offers as it is set up, and why not the others."""

from __future__ import annotations

from softdpu.net.state import FunctionConfig
from softdpu.spec import features as f
from softdpu.spec.virtio_net import MAX_PAIRS

DEFAULT = f.mask_of(
    f.NET_CSUM,
    f.NET_GUEST_CSUM,
    f.NET_CTRL_GUEST_OFFLOADS,
    f.NET_MTU,
    f.NET_MAC,
    f.NET_GUEST_TSO4,
    f.NET_GUEST_TSO6,
    f.NET_GUEST_ECN,
    f.NET_HOST_TSO4,
    f.NET_HOST_TSO6,
    f.NET_HOST_ECN,
    f.NET_MRG_RXBUF,
    f.NET_STATUS,
    f.NET_CTRL_VQ,
    f.NET_CTRL_RX,
    f.NET_CTRL_VLAN,
    f.NET_CTRL_RX_EXTRA,
    f.NET_GUEST_ANNOUNCE,
    f.NET_MQ,
    f.NET_CTRL_MAC_ADDR,
    f.ANY_LAYOUT,
    f.INDIRECT_DESC,
    f.EVENT_IDX,
    f.VERSION_1,
    f.IN_ORDER,
    f.NOTIFICATION_DATA,
    f.RING_RESET,
    f.NET_DEVICE_STATS,
    f.NET_VQ_NOTF_COAL,
    f.NET_NOTF_COAL,
    f.NET_GUEST_USO4,
    f.NET_GUEST_USO6,
    f.NET_HOST_USO,
    f.NET_GUEST_HDRLEN,  # of use to the device only, which measures headers itself: a driver may lie
    f.NET_RSS,
    f.NET_SPEED_DUPLEX,
)
# Off unless asked for. ACCESS_PLATFORM, as in QEMU: a guest behind an IOMMU needs it, a legacy driver cannot use it.
# HASH_REPORT: Linux has all frames hashed and then looks at no hash until it is told to (docs/decisions/0022).
ON_REQUEST = f.mask_of(f.ACCESS_PLATFORM, f.NET_HASH_REPORT)
# Offered by virtnet.conf's packed_vq, or on request.
PACKED = f.mask_of(f.RING_PACKED)
# Offered by a static PF that can have VFs.
PHYSICAL = f.mask_of(f.SR_IOV, f.ADMIN_VQ)
IMPLEMENTED = DEFAULT | ON_REQUEST | PACKED | PHYSICAL

# Why the device does without the rest.
ABSENT = {
    6: "superseded by the bits for each kind of segmentation",
    f.NET_GUEST_UFO: "UDP fragmentation is deprecated, and no kernel since Linux 4.14 does it; USO is its successor",
    f.NET_HOST_UFO: "UDP fragmentation is deprecated, and no kernel since Linux 4.14 does it; USO is its successor",
    f.NOTIFY_ON_EMPTY: "no driver in use asks for it, and the event index says the same better",
    f.ORDER_PLATFORM: "the device runs on the processors of the driver: their ordering holds",
    f.NOTIF_CONFIG_DATA: "queues are told apart by their notification's address",
    f.SUSPEND: "not built yet",
    f.NET_HASH_TUNNEL: "tunnels are hashed by their outer headers",
    f.NET_RSC_EXT: "nothing coalesces segments here, so there is nothing to tell of it",
    f.NET_STANDBY: "it is for a VMM that pairs the device with a passed-through one",
}

# Hashes are reported as a command says, so their bit is of no use without it (§5.1.4.1).
_CONTROLLED = f.mask_of(
    f.NET_CTRL_VQ,
    f.NET_HASH_REPORT,
    *(bit for bit, feature in f.FEATURES.items() if f.NET_CTRL_VQ in feature.requires),
)


def pairs(config: FunctionConfig) -> int:
    """Receive/transmit pairs: two virtqueues each, beside the control queue."""
    return min((config.queues - has_control(config)) // 2, MAX_PAIRS)


def has_control(config: FunctionConfig) -> bool:
    """Whether there is a control queue."""
    return config.queues > 2


def withheld(config: FunctionConfig) -> dict[int, str]:
    """The bits that this device implements and does not offer as it is set up, each with the reason."""
    reasons = {}
    for bit in f.bits_of(IMPLEMENTED):
        feature = f.FEATURES[bit]
        if config.layout == "legacy" and feature.view is f.View.MODERN:
            reasons[bit] = "not offered: a legacy device has only bits 0 to 31"
        elif config.layout == "modern" and feature.view is f.View.LEGACY and not config.virtual:
            reasons[bit] = "not offered: it means something to legacy drivers only"
        elif PHYSICAL >> bit & 1 and config.sriov is None:
            reasons[bit] = "not offered: only a static PF has VFs, by SRIOV_EN and VIRTIO_NET_EMULATION_NUM_VF"
        elif not has_control(config) and _CONTROLLED >> bit & 1:
            reasons[bit] = f"not offered: {config.queues} virtqueues leave none for control; 3 or more do"
        elif bit == f.NET_MRG_RXBUF and not config.mrg_rxbuf:
            reasons[bit] = "not offered: mrg_rxbuf is 0 in virtnet.conf"
        elif bit in (f.NET_MQ, f.NET_RSS) and pairs(config) < 2:
            reasons[bit] = "not offered: there is one queue pair; 5 or more virtqueues make several"
        elif bit == f.RING_PACKED and not config.packed_vq and not config.features >> bit & 1:
            reasons[bit] = f"not offered: packed_vq is 0 in virtnet.conf, and features without {1 << bit:#x}"
        elif ON_REQUEST >> bit & 1 and not config.features >> bit & 1:
            reasons[bit] = f"not offered: only on request, features {1 << bit:#x}"
    return reasons


def offered(config: FunctionConfig) -> int:
    """The feature bits on offer; none requires one that is not (virtio 1.3 §2.2.2)."""
    return IMPLEMENTED & ~f.mask_of(*withheld(config))
