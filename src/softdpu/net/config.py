"""The device configuration of a network function (virtio 1.3 §5.1.4)."""

from __future__ import annotations

import struct

from softdpu.net.features import pairs
from softdpu.net.state import FunctionConfig, NetState
from softdpu.spec import features as f
from softdpu.spec import virtio_net as n

_LAYOUT = struct.Struct("<6sHHHIBBHI")
assert _LAYOUT.size == n.CONFIG.size == n.CONFIG_BYTES


def config_bytes(config: FunctionConfig, net: NetState, offer: int) -> bytes:
    """The whole structure; without RSS or HASH_REPORT in ``offer``, fields about hashing are zero."""
    status = (n.LINK_UP if config.link_up else 0) | (n.ANNOUNCE if net.announce else 0)
    duplex = n.DUPLEX_UNKNOWN if config.speed == n.SPEED_UNKNOWN else n.DUPLEX_FULL
    return _LAYOUT.pack(net.mac, status, pairs(config), config.mtu, config.speed, duplex, *hashing(offer))


def hashing(offer: int) -> tuple[int, int, int]:
    """rss_max_key_size, rss_max_indirection_table_length and supported_hash_types with these feature bits (§5.1.4)."""
    if not offer & f.mask_of(f.NET_RSS, f.NET_HASH_REPORT):
        return 0, 0, 0
    return n.RSS_KEY_BYTES, n.RSS_TABLE if offer >> f.NET_RSS & 1 else 0, n.HASH_TYPES


def patched_mac(mac: bytes, offset: int, data: bytes) -> bytes:
    """The address after a legacy driver's write of ``data`` at ``offset`` of the structure (§5.1.4.3)."""
    value = bytearray(mac)
    for at, byte in enumerate(data[: max(0, n.MAC_BYTES - offset)], offset):
        value[at] = byte
    return bytes(value)
