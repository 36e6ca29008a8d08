"""Receive filters: what the driver has asked for, as the effect that sets them (virtio 1.3 §5.1.6.5.1-3)."""

from __future__ import annotations

import msgspec

from softdpu.net.state import FilterState
from softdpu.spec.virtio_net import MAC_BYTES, VLAN_BYTES
from softdpu.virtio.effects import SetFilter

MODES = ("promiscuous", "all_multicast", "all_unicast", "no_multicast", "no_unicast", "no_broadcast")
TABLE = 64  # addresses of each kind; a driver that has more gets all of that kind (§5.1.6.5.2, footnote)


def set_filter(filters: FilterState, mac: bytes, vlan_filtering: bool) -> SetFilter:
    """The filter in force. ``mac`` is the function's own address; VLANs are filtered only where that is negotiated."""
    return SetFilter(
        promiscuous=filters.promiscuous,
        all_multicast=filters.all_multicast or filters.multicast_overflow,
        all_unicast=filters.all_unicast or filters.unicast_overflow,
        no_multicast=filters.no_multicast,
        no_unicast=filters.no_unicast,
        no_broadcast=filters.no_broadcast,
        addresses=(mac, *filters.unicast, *filters.multicast),
        vlans=(filters.vlans or bytes(VLAN_BYTES)) if vlan_filtering else None,
    )


def rx_mode(filters: FilterState) -> int:
    """The modes of reception as a mask: bit n is command n of the class CTRL_RX (§5.1.6.5.1)."""
    return sum(getattr(filters, mode) << bit for bit, mode in enumerate(MODES))


def in_mode(filters: FilterState, modes: int) -> FilterState:
    """The same filter in other modes."""
    return msgspec.structs.replace(filters, **{mode: bool(modes >> bit & 1) for bit, mode in enumerate(MODES)})


def addresses(table: bytes) -> tuple[bytes, ...] | None:
    """The 6-byte addresses of a table, or None where there are more than fit."""
    if len(table) > TABLE * MAC_BYTES:
        return None
    return tuple(table[at : at + MAC_BYTES] for at in range(0, len(table), MAC_BYTES))


def with_vlan(vlans: bytes, vlan: int, passes: bool) -> bytes:
    """The VLAN table with one VLAN added or deleted; an empty table has no bytes."""
    table = bytearray(vlans or bytes(VLAN_BYTES))
    bit = 1 << vlan % 8
    table[vlan // 8] = table[vlan // 8] | bit if passes else table[vlan // 8] & ~bit
    return bytes(table) if any(table) else b""
