"""The network device: configuration space, control commands, header (virtio 1.3 §5.1). Data only."""

from struct import Struct

from softdpu.spec import features as f
from softdpu.spec import net_statistics
from softdpu.spec.registers import RO, Bank, Reg

CONFIG = Bank(
    "network device configuration",
    "virtio 1.3 §5.1.4",
    (
        Reg("mac", 0x00, 6, RO),  # driver-writable through the legacy interface, §5.1.4.3
        Reg("status", 0x06, 2, RO, needs="VIRTIO_NET_F_STATUS"),
        Reg("max_virtqueue_pairs", 0x08, 2, RO, needs="VIRTIO_NET_F_MQ"),
        Reg("mtu", 0x0A, 2, RO, needs="VIRTIO_NET_F_MTU"),
        Reg("speed", 0x0C, 4, RO, needs="VIRTIO_NET_F_SPEED_DUPLEX"),
        Reg("duplex", 0x10, 1, RO, needs="VIRTIO_NET_F_SPEED_DUPLEX"),
        Reg("rss_max_key_size", 0x11, 1, RO, needs="VIRTIO_NET_F_RSS or VIRTIO_NET_F_HASH_REPORT"),
        Reg("rss_max_indirection_table_length", 0x12, 2, RO, needs="VIRTIO_NET_F_RSS"),
        Reg("supported_hash_types", 0x14, 4, RO, needs="VIRTIO_NET_F_RSS or VIRTIO_NET_F_HASH_REPORT"),
    ),
)
CONFIG_BYTES = 24  # the bank: a whole number of dwords

LINK_UP, ANNOUNCE = 1, 2  # bits of status
DUPLEX_FULL, DUPLEX_UNKNOWN = 1, 0xFF
SPEED_MAX, SPEED_UNKNOWN = 0x7FFFFFFF, 0xFFFFFFFF

# Bytes of virtio_net_hdr: with num_buffers, without it (legacy only, §5.1.6.1), and with hash_value and hash_report.
HEADER, LEGACY_HEADER, HASH_HEADER = 12, 10, 20
MAX_PAIRS = 32

# The feature bits that say what frames a driver receives (§5.1.6.5.7), and what it may leave undone in those it sends.
GUEST_OFFLOADS = f.mask_of(
    f.NET_GUEST_CSUM, f.NET_GUEST_TSO4, f.NET_GUEST_TSO6, f.NET_GUEST_ECN, f.NET_GUEST_USO4, f.NET_GUEST_USO6
)
HOST_OFFLOADS = f.mask_of(f.NET_CSUM, f.NET_HOST_TSO4, f.NET_HOST_TSO6, f.NET_HOST_ECN, f.NET_HOST_USO)
OFFLOADS_BYTES = 8

# What a hash is made of, §5.1.6.4.3: each type is 1 << (its number in hash_report - 1).
HASH_REPORTS = ("none", "IPv4", "TCPv4", "UDPv4", "IPv6", "TCPv6", "UDPv6", "IPv6_EX", "TCPv6_EX", "UDPv6_EX")
HASH_TYPES = (1 << len(HASH_REPORTS) - 1) - 1
RSS_KEY_BYTES = 40  # the least that a device may offer, and the most that Linux uses; an IPv6 flow needs no more
RSS_TABLE = 128  # entries of an indirection table, likewise

# virtio_net_hdr but num_buffers: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset (§5.1.6)
OFFLOAD = Struct("<BBHHHH")
HASHED = Struct("<HIHH")  # what follows: num_buffers, hash_value, hash_report, padding
NEEDS_CSUM, DATA_VALID = 1, 2
GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, GSO_ECN = 0, 1, 4, 5, 0x80

OK, ERR = b"\x00", b"\x01"  # the ack byte, §5.1.6.5

CTRL_RX, CTRL_MAC, CTRL_VLAN, CTRL_ANNOUNCE, CTRL_MQ, CTRL_GUEST_OFFLOADS, CTRL_NOTF_COAL = range(7)
CTRL_STATS = 8
CTRL_RX_PROMISC, CTRL_RX_ALLMULTI, CTRL_RX_ALLUNI, CTRL_RX_NOMULTI, CTRL_RX_NOUNI, CTRL_RX_NOBCAST = range(6)
CTRL_MAC_TABLE_SET, CTRL_MAC_ADDR_SET = 0, 1
CTRL_VLAN_ADD, CTRL_VLAN_DEL = 0, 1
CTRL_ANNOUNCE_ACK = 0
CTRL_MQ_VQ_PAIRS_SET, CTRL_MQ_RSS_CONFIG, CTRL_MQ_HASH_CONFIG = 0, 1, 2
CTRL_GUEST_OFFLOADS_SET = 0
CTRL_NOTF_COAL_TX_SET, CTRL_NOTF_COAL_RX_SET, CTRL_NOTF_COAL_VQ_SET, CTRL_NOTF_COAL_VQ_GET = range(4)

# Which feature a command belongs to, §5.1.6.5: without it the driver must not send the command.
COMMANDS: dict[tuple[int, int], int] = {
    (CTRL_RX, CTRL_RX_PROMISC): f.NET_CTRL_RX,
    (CTRL_RX, CTRL_RX_ALLMULTI): f.NET_CTRL_RX,
    (CTRL_RX, CTRL_RX_ALLUNI): f.NET_CTRL_RX_EXTRA,
    (CTRL_RX, CTRL_RX_NOMULTI): f.NET_CTRL_RX_EXTRA,
    (CTRL_RX, CTRL_RX_NOUNI): f.NET_CTRL_RX_EXTRA,
    (CTRL_RX, CTRL_RX_NOBCAST): f.NET_CTRL_RX_EXTRA,
    (CTRL_MAC, CTRL_MAC_TABLE_SET): f.NET_CTRL_RX,
    (CTRL_MAC, CTRL_MAC_ADDR_SET): f.NET_CTRL_MAC_ADDR,
    (CTRL_VLAN, CTRL_VLAN_ADD): f.NET_CTRL_VLAN,
    (CTRL_VLAN, CTRL_VLAN_DEL): f.NET_CTRL_VLAN,
    (CTRL_ANNOUNCE, CTRL_ANNOUNCE_ACK): f.NET_GUEST_ANNOUNCE,
    (CTRL_MQ, CTRL_MQ_VQ_PAIRS_SET): f.NET_MQ,
    (CTRL_MQ, CTRL_MQ_RSS_CONFIG): f.NET_RSS,
    (CTRL_MQ, CTRL_MQ_HASH_CONFIG): f.NET_HASH_REPORT,
    (CTRL_GUEST_OFFLOADS, CTRL_GUEST_OFFLOADS_SET): f.NET_CTRL_GUEST_OFFLOADS,
    (CTRL_NOTF_COAL, CTRL_NOTF_COAL_TX_SET): f.NET_NOTF_COAL,
    (CTRL_NOTF_COAL, CTRL_NOTF_COAL_RX_SET): f.NET_NOTF_COAL,
    (CTRL_NOTF_COAL, CTRL_NOTF_COAL_VQ_SET): f.NET_VQ_NOTF_COAL,
    (CTRL_NOTF_COAL, CTRL_NOTF_COAL_VQ_GET): f.NET_VQ_NOTF_COAL,
    (CTRL_STATS, net_statistics.QUERY): f.NET_DEVICE_STATS,
    (CTRL_STATS, net_statistics.GET): f.NET_DEVICE_STATS,
}

RSS_HEAD = Struct("<IHH")  # virtio_net_rss_config: hash_types, indirection_table_mask, unclassified_queue
RSS_TAIL = Struct("<HB")  # after the table: max_tx_vq, hash_key_length; the key follows
HASH_HEAD = Struct("<I8xB")  # virtio_net_hash_config: hash_types, reserved, hash_key_length; the key follows

COAL = Struct("<II")  # virtio_net_ctrl_coal: max_packets, max_usecs
COAL_QUEUE = Struct("<HH")  # what virtio_net_ctrl_coal_vq begins with: vq_index, reserved

VLANS = 4096
VLAN_BYTES = VLANS // 8
MAC_BYTES = 6
GROUP = 1  # in the first byte: a multicast address
MIN_MTU, MAX_MTU = 68, 9216
ETHERNET_OVERHEAD = 18  # header and one VLAN tag, without FCS
