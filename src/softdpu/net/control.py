"""The control virtqueue: one handler a class (virtio 1.3 §5.1.6.5). What is malformed is answered with ERR."""

from __future__ import annotations

from softdpu.net.coalescing import coalesce
from softdpu.net.commanded import Commanded, Done, Handler
from softdpu.net.filters import MODES, addresses, with_vlan
from softdpu.net.state import FilterState
from softdpu.net.statistics import Counted, statistics
from softdpu.net.steering import multiqueue
from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.virtio.outcome import NOTHING, Effects

LONGEST = (
    64 * 1024
)  # bytes of a command; of a longer one the datapath hands over its beginning, one byte more than that


def execute(device: Commanded, data: bytes, counted: Counted) -> tuple[bytes, Effects]:
    """Runs one command: class, command, its data. Returns the ack byte, a result after it, and what is to be done."""
    if len(data) < 2:
        return n.ERR, NOTHING
    feature = n.COMMANDS.get((data[0], data[1]))
    if feature is None or not device.has(feature):
        return n.ERR, NOTHING
    if len(data) > LONGEST:
        return _too_long(device, data)
    if data[0] == n.CTRL_STATS:
        done = statistics(device, data[1], data[2:], counted)
    else:
        done = HANDLERS[data[0]](device, data[1], data[2:])
    if isinstance(done, bytes):
        return n.OK + done, NOTHING
    return (n.ERR, NOTHING) if done is None else (n.OK, done)


def _too_long(device: Commanded, data: bytes) -> tuple[bytes, Effects]:
    """Only tables of addresses are that long in earnest: more than fit. The first table tells of which kind."""
    if (data[0], data[1]) != (n.CTRL_MAC, n.CTRL_MAC_TABLE_SET):
        return n.ERR, NOTHING
    unicast, _ = _table(data[2:])
    _fill(device.net.filter, unicast, None)
    return n.OK, device.filter_effects()


def _receive_mode(device: Commanded, command: int, data: bytes) -> Done:
    """§5.1.6.5.1: one byte, 0 or 1."""
    if data not in (b"\0", b"\1"):
        return None
    setattr(device.net.filter, MODES[command], bool(data[0]))
    return device.filter_effects()


def _mac(device: Commanded, command: int, data: bytes) -> Done:
    """§5.1.6.5.2."""
    if command == n.CTRL_MAC_TABLE_SET:
        return _set_table(device, data)
    if len(data) != n.MAC_BYTES or data[0] & n.GROUP:
        return None
    device.net.mac = bytes(data)
    return device.filter_effects()


def _set_table(device: Commanded, data: bytes) -> Done:
    unicast, rest = _table(data)
    multicast, end = _table(rest)
    if unicast is None or multicast is None or end:
        return None
    _fill(device.net.filter, unicast, multicast)
    return device.filter_effects()


def _table(data: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Splits off one table: a count of 32 bits, then that many addresses. None where it is too short."""
    if data is None or len(data) < 4:
        return None, None
    end = 4 + n.MAC_BYTES * int.from_bytes(data[:4], "little")
    return (data[4:end], data[end:]) if end <= len(data) else (None, None)


def _fill(filters: FilterState, unicast: bytes | None, multicast: bytes | None) -> None:
    """Tables that are there, or of which it is known that they have too many addresses."""
    own, groups = (None if table is None else addresses(table) for table in (unicast, multicast))
    filters.unicast, filters.unicast_overflow = own or (), own is None
    filters.multicast, filters.multicast_overflow = groups or (), groups is None


def _vlan(device: Commanded, command: int, data: bytes) -> Done:
    """§5.1.6.5.3: a VLAN id of 16 bits, of which 12 can be used."""
    vlan = int.from_bytes(data, "little")
    if len(data) != 2 or vlan >= n.VLANS:
        return None
    device.net.filter.vlans = with_vlan(device.net.filter.vlans, vlan, command == n.CTRL_VLAN_ADD)
    return device.filter_effects()


def _announce(device: Commanded, _command: int, data: bytes) -> Done:
    """§5.1.6.5.4: the driver has seen the request; no data."""
    if data:
        return None
    device.net.announce = False
    return NOTHING


def _offloads(device: Commanded, _command: int, data: bytes) -> Done:
    """§5.1.6.5.7: 64 bits, each a feature that was negotiated.

    Linux counts GUEST_HDRLEN among them, which says nothing of what it receives.
    """
    asked = int.from_bytes(data, "little") & ~(1 << f.NET_GUEST_HDRLEN)
    if len(data) != n.OFFLOADS_BYTES or asked & ~n.GUEST_OFFLOADS or not device.has_all(asked):
        return None
    device.net.offloads = asked
    return device.offload_effects()


HANDLERS: dict[int, Handler] = {
    n.CTRL_RX: _receive_mode,
    n.CTRL_MAC: _mac,
    n.CTRL_VLAN: _vlan,
    n.CTRL_ANNOUNCE: _announce,
    n.CTRL_MQ: multiqueue,
    n.CTRL_GUEST_OFFLOADS: _offloads,
    n.CTRL_NOTF_COAL: coalesce,
}
