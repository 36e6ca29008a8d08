"""Commands about which receive queue a frame goes to (virtio 1.3 §5.1.6.5.6-7). The last one decides."""

from __future__ import annotations

import struct

from softdpu.net.commanded import Commanded, Done
from softdpu.net.state import HashState, NetState
from softdpu.spec import virtio_net as n
from softdpu.virtio.effects import SetHash, SetPairs
from softdpu.virtio.outcome import Effects, effects


def steering(net: NetState, reported: bool) -> Effects:
    """The steering in force: as many pairs as any frame can go to, and how one is chosen.

    With one pair and no hash ``reported`` there is nothing to choose by a hash, and none is computed.
    """
    state = net.hash
    pairs = max(net.pairs, 1 + max(state.table, default=0), 1 + state.unclassified) if state.steer else net.pairs
    if pairs == 1 and not reported:
        state = HashState()
    return effects(SetPairs(pairs), SetHash(state.steer, state.types, state.key, state.table, state.unclassified))


def multiqueue(device: Commanded, command: int, data: bytes) -> Done:
    """The class CTRL_MQ."""
    return _COMMANDS[command](device, data)


def _pairs(device: Commanded, data: bytes) -> Done:
    """§5.1.6.5.6: a number of pairs, 1 to max_virtqueue_pairs. Steering is automatic again; hashes stay reported."""
    number = int.from_bytes(data, "little")
    if len(data) != 2 or not 1 <= number <= device.max_pairs:
        return None
    device.net.pairs = number
    return _automatic(device, device.net.hash.types, device.net.hash.key)


def _rss(device: Commanded, data: bytes) -> Done:
    """§5.1.6.5.7.1: hash types, a table with a power of two of receive queues, the number of transmit queues, a key."""
    if len(data) < n.RSS_HEAD.size:
        return None
    types, mask, unclassified = n.RSS_HEAD.unpack_from(data)
    tail = n.RSS_HEAD.size + 2 * (mask + 1)
    if mask >= n.RSS_TABLE or mask & mask + 1 or len(data) < tail + n.RSS_TAIL.size:
        return None
    table: tuple[int, ...] = struct.unpack_from(f"<{mask + 1}H", data, n.RSS_HEAD.size)
    pairs, length = n.RSS_TAIL.unpack_from(data, tail)
    key = _key(data[tail + n.RSS_TAIL.size :], length)
    # The reserved bit of a queue's number makes it larger than any.
    if not 1 <= pairs <= device.max_pairs or max(*table, unclassified) >= device.max_pairs:
        return None
    if key is None or types & ~n.HASH_TYPES:
        return None
    device.net.pairs = pairs
    device.net.hash = HashState(True, types, key, table, unclassified)
    return device.steering_effects()


def _hash(device: Commanded, data: bytes) -> Done:
    """§5.1.6.5.6.4: hash types and a key. What is ``reserved`` is not looked at: it is of no use to anyone."""
    if len(data) < n.HASH_HEAD.size:
        return None
    types, length = n.HASH_HEAD.unpack_from(data)
    key = _key(data[n.HASH_HEAD.size :], length)
    return None if key is None or types & ~n.HASH_TYPES else _automatic(device, types, key)


def _key(data: bytes, length: int) -> bytes | None:
    """The key, if all of it is there. Bytes after it are no mistake: Linux 6.12 to 7.3 pad the command with one."""
    return data[:length] if length <= min(n.RSS_KEY_BYTES, len(data)) else None


def _automatic(device: Commanded, types: int, key: bytes) -> Done:
    device.net.hash = HashState(False, types, key)
    return device.steering_effects()


_COMMANDS = {
    n.CTRL_MQ_VQ_PAIRS_SET: _pairs,
    n.CTRL_MQ_RSS_CONFIG: _rss,
    n.CTRL_MQ_HASH_CONFIG: _hash,
}
