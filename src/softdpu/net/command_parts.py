"""What a driver has set by control commands, as device parts: one a command (virtio 1.4 §5.1, device parts).

The specification lists commands for filters, VLANs and steering. Offloads and interrupt moderation travel the same
way, as parts marked optional; so does the address of a driver that wrote it into the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from softdpu.net import control
from softdpu.net.filters import TABLE
from softdpu.net.network import NetworkDevice
from softdpu.net.state import CoalescingState, FilterState, HashState, NetState
from softdpu.net.statistics import nothing
from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.spec.admin import COMMAND_SELECTOR, PartType
from softdpu.virtio.parts import Part

Selector = tuple[int, int]  # class and command
MODES = {
    (n.CTRL_RX, n.CTRL_RX_PROMISC): "promiscuous",
    (n.CTRL_RX, n.CTRL_RX_ALLMULTI): "all_multicast",
    (n.CTRL_RX, n.CTRL_RX_ALLUNI): "all_unicast",
    (n.CTRL_RX, n.CTRL_RX_NOMULTI): "no_multicast",
    (n.CTRL_RX, n.CTRL_RX_NOUNI): "no_unicast",
    (n.CTRL_RX, n.CTRL_RX_NOBCAST): "no_broadcast",
}
ADDRESS, ADDRESSES = (n.CTRL_MAC, n.CTRL_MAC_ADDR_SET), (n.CTRL_MAC, n.CTRL_MAC_TABLE_SET)
VLANS, PAIRS = (n.CTRL_VLAN, n.CTRL_VLAN_ADD), (n.CTRL_MQ, n.CTRL_MQ_VQ_PAIRS_SET)
RSS, HASH = (n.CTRL_MQ, n.CTRL_MQ_RSS_CONFIG), (n.CTRL_MQ, n.CTRL_MQ_HASH_CONFIG)
OFFLOADS = (n.CTRL_GUEST_OFFLOADS, n.CTRL_GUEST_OFFLOADS_SET)
TRANSMIT = (n.CTRL_NOTF_COAL, n.CTRL_NOTF_COAL_TX_SET)
RECEIVE = (n.CTRL_NOTF_COAL, n.CTRL_NOTF_COAL_RX_SET)
EACH = (n.CTRL_NOTF_COAL, n.CTRL_NOTF_COAL_VQ_SET)  # the commands of all queues, one after the other
LISTED = {*MODES, ADDRESS, ADDRESSES, VLANS, PAIRS, RSS, HASH}  # by the specification

_COAL_ONE = n.COAL_QUEUE.size + n.COAL.size
# Of a table with more addresses than are kept nothing is known but that; these stand for it.
_FILLER = {"unicast": b"\x02\0\0\0\0\0", "multicast": b"\x03\0\0\0\0\0"}


def command_parts(device: NetworkDevice) -> list[Part]:
    """A part for each command whose feature is in force, and for the address."""
    return [
        Part(PartType.NET_CVQ_CFG, COMMAND_SELECTOR.pack(*selector), value, _optional(device, selector))
        for selector, value in sorted(_values(device))
        if selector == ADDRESS or device.has(n.COMMANDS[selector])
    ]


def _optional(device: NetworkDevice, selector: Selector) -> bool:
    return selector not in LISTED or not device.has(n.COMMANDS[selector])


def _values(device: NetworkDevice) -> Iterator[tuple[Selector, bytes]]:
    net = device.net
    yield ADDRESS, net.mac
    yield ADDRESSES, _table(net.filter, "unicast") + _table(net.filter, "multicast")
    yield VLANS, net.filter.vlans or bytes(n.VLAN_BYTES)
    yield from ((selector, bytes([getattr(net.filter, name)])) for selector, name in MODES.items())
    yield from _steering(net)
    if net.offloads is not None:
        yield OFFLOADS, net.offloads.to_bytes(n.OFFLOADS_BYTES, "little")
    yield from _coalescing(net.coalescing)


def _coalescing(state: CoalescingState) -> Iterator[tuple[Selector, bytes]]:
    """What the driver said; what the operator has set is not the driver's to move."""
    for selector, setting in ((TRANSMIT, state.transmit), (RECEIVE, state.receive)):
        if setting is not None:
            yield selector, n.COAL.pack(*setting)
    if state.queues:
        each = sorted(state.queues.items())
        yield EACH, b"".join(n.COAL_QUEUE.pack(queue, 0) + n.COAL.pack(*setting) for queue, setting in each)


def _steering(net: NetState) -> Iterator[tuple[Selector, bytes]]:
    """The command that holds: of automatic steering the number of pairs, and hash reports beside it."""
    state = net.hash
    if state.steer:
        head = n.RSS_HEAD.pack(state.types, len(state.table) - 1, state.unclassified)
        table = b"".join(queue.to_bytes(2, "little") for queue in state.table)
        yield RSS, head + table + n.RSS_TAIL.pack(net.pairs, len(state.key)) + state.key
        return
    yield PAIRS, net.pairs.to_bytes(2, "little")
    if state != HashState():
        yield HASH, n.HASH_HEAD.pack(state.types, len(state.key)) + state.key


def _table(filters: FilterState, kind: str) -> bytes:
    addresses = getattr(filters, kind)
    if getattr(filters, f"{kind}_overflow"):
        addresses = (_FILLER[kind],) * (TABLE + 1)
    return len(addresses).to_bytes(4, "little") + b"".join(addresses)


# ---- the other way


def apply(device: NetworkDevice, part: Part) -> str:
    """Puts a part into a device whose features and queues are there already: why that cannot be, or nothing."""
    class_, command = COMMAND_SELECTOR.unpack(part.selector)
    direct = _DIRECT.get((class_, command))
    if direct is not None:
        done = direct(device, part.value)
    else:
        done = control.execute(device, bytes((class_, command)) + part.value, nothing)[0] == n.OK
    return "" if done or part.optional else f"part {part.name} is none of this device as it is"


def _set_address(device: NetworkDevice, value: bytes) -> bool:
    if len(value) != n.MAC_BYTES or value[0] & n.GROUP:
        return False
    device.net.mac = value
    return True


def _set_vlans(device: NetworkDevice, value: bytes) -> bool:
    """The whole table."""
    if len(value) != n.VLAN_BYTES or not device.has(f.NET_CTRL_VLAN):
        return False
    device.net.filter.vlans = value if any(value) else b""
    return True


def _set_each(device: NetworkDevice, value: bytes) -> bool:
    if len(value) % _COAL_ONE or not device.has(f.NET_VQ_NOTF_COAL):
        return False
    for at in range(0, len(value), _COAL_ONE):
        queue, _ = n.COAL_QUEUE.unpack_from(value, at)
        device.net.coalescing.queues[queue] = n.COAL.unpack_from(value, at + n.COAL_QUEUE.size)
    return True


_DIRECT: dict[Selector, Callable[[NetworkDevice, bytes], bool]] = {
    ADDRESS: _set_address,
    VLANS: _set_vlans,
    EACH: _set_each,
}
