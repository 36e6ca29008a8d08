"""Device statistics of the network device: types and structures (virtio 1.4 §5.1.6.5.11), in spec order. Data only."""

from dataclasses import dataclass
from struct import Struct
from typing import Literal, TypeAlias

from softdpu.spec import features as f

QUERY, GET = 0, 1  # commands of the class CTRL_STATS

CAPABILITIES = Struct("<Q")  # virtio_net_stats_capabilities: a bit a type
ASKED = Struct("<H6xQ")  # an entry of virtio_net_ctrl_queue_stats: vq_index, types_bitmap
HEADER = Struct("<BxHxxH")  # virtio_net_stats_reply_hdr: type, vq_index, size (its own 8 bytes included)

Kind: TypeAlias = Literal["receive", "transmit", "control"]


@dataclass(frozen=True)
class Statistics:
    """One type: its fields, of 64 bits each, follow ``HEADER``. It needs one of the features ``requires_any``."""

    type: int  # in a reply's header; a bitmap has the bit of this number
    kind: Kind  # of the queues that have it
    fields: tuple[str, ...]
    requires_any: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of a reply, with its header."""
        return HEADER.size + 8 * len(self.fields)


TYPES: tuple[Statistics, ...] = (
    Statistics(32, "control", ("command_num", "ok_num")),
    Statistics(
        0,
        "receive",
        ("rx_notifications", "rx_packets", "rx_bytes", "rx_interrupts", "rx_drops", "rx_drop_overruns"),
    ),
    Statistics(
        16,
        "transmit",
        ("tx_notifications", "tx_packets", "tx_bytes", "tx_interrupts", "tx_drops", "tx_drop_malformed"),
    ),
    Statistics(1, "receive", ("rx_csum_valid", "rx_needs_csum", "rx_csum_none", "rx_csum_bad"), (f.NET_GUEST_CSUM,)),
    Statistics(17, "transmit", ("tx_csum_none", "tx_needs_csum"), (f.NET_CSUM,)),
    Statistics(
        2,
        "receive",
        ("rx_gso_packets", "rx_gso_bytes", "rx_gso_packets_coalesced", "rx_gso_bytes_coalesced"),
        (f.NET_GUEST_TSO4, f.NET_GUEST_TSO6),
    ),
    Statistics(
        18,
        "transmit",
        (
            "tx_gso_packets",
            "tx_gso_bytes",
            "tx_gso_segments",
            "tx_gso_segments_bytes",
            "tx_gso_packets_noseg",
            "tx_gso_bytes_noseg",
        ),
        (f.NET_HOST_TSO4, f.NET_HOST_TSO6, f.NET_HOST_USO),
    ),
    Statistics(3, "receive", ("rx_packets_allowance_exceeded", "rx_bytes_allowance_exceeded")),
    Statistics(19, "transmit", ("tx_packets_allowance_exceeded", "tx_bytes_allowance_exceeded")),
)
BY_TYPE: dict[int, Statistics] = {statistics.type: statistics for statistics in TYPES}
