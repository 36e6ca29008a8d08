"""The device configuration of a network function (virtio 1.3 §5.1.4)."""

from __future__ import annotations

import struct

from softdpu.net.features import pairs
from softdpu.net.state import FunctionConfig, NetState
from softdpu.spec import virtio_net as n

_LAYOUT = struct.Struct("<6sHHHIB")
assert _LAYOUT.size == n.CONFIG.size


def config_bytes(config: FunctionConfig, net: NetState) -> bytes:
    """The whole structure, padded with zeros to ``CONFIG_BYTES``."""
    status = (n.LINK_UP if config.link_up else 0) | (n.ANNOUNCE if net.announce else 0)
    duplex = n.DUPLEX_UNKNOWN if config.speed == n.SPEED_UNKNOWN else n.DUPLEX_FULL
    fields = _LAYOUT.pack(net.mac, status, pairs(config), config.mtu, config.speed, duplex)
    return fields.ljust(n.CONFIG_BYTES, b"\0")


def patched_mac(mac: bytes, offset: int, data: bytes) -> bytes:
    """The address after a legacy driver's write of ``data`` at ``offset`` of the structure (§5.1.4.3)."""
    value = bytearray(mac)
    for at, byte in enumerate(data[: max(0, n.MAC_BYTES - offset)], offset):
        value[at] = byte
    return bytes(value)
