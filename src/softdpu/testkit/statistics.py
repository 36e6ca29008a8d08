"""A driver's questions for device statistics (virtio 1.4 §5.1.6.5.11): ``STATISTICS`` is to be among what it wants.

``every(driver)`` is ``{0: {"rx_packets": 5, ...}, 1: {"tx_packets": ...}, ...}``: all there is of its queues.
"""

from collections.abc import Iterable, Mapping
from struct import iter_unpack
from typing import Final

from softdpu.spec import features as f
from softdpu.spec import net_statistics as s
from softdpu.spec import virtio_net as n
from softdpu.testkit.net import NetDriver

STATISTICS: Final = f.mask_of(f.NET_DEVICE_STATS)


class StatisticsRefused(Exception):
    """The device answered with an error, or with something that no device should."""


def capabilities(driver: NetDriver) -> int:
    """The types that the device has, a bit each."""
    answer = _ask(driver, s.QUERY, b"", s.CAPABILITIES.size)
    (types,) = s.CAPABILITIES.unpack(answer)
    return int(types)


def of(driver: NetDriver, types: Mapping[int, int]) -> dict[int, dict[str, int]]:
    """The fields by name of each queue, asked for in one command; ``types`` has a bitmap a queue."""
    entries = list(types.items())
    return parsed(_ask(driver, s.GET, asked(entries), room(entries)))


def every(driver: NetDriver) -> dict[int, dict[str, int]]:
    """All that the device has of the driver's queues."""
    offered = capabilities(driver)
    return of(driver, {queue: offered & types_of(kind_of(driver, queue)) for queue in driver.queue_indices()})


def kind_of(driver: NetDriver, queue: int) -> s.Kind:
    """What a queue is for."""
    if queue == driver.control_queue:
        return "control"
    return "transmit" if queue % 2 else "receive"


def types_of(kind: s.Kind) -> int:
    """The bitmap of all types for a kind of queue."""
    return f.mask_of(*(known.type for known in s.TYPES if known.kind == kind))


def asked(entries: Iterable[tuple[int, int]]) -> bytes:
    """The data of a GET: queues, each with a bitmap of types."""
    return b"".join(s.ASKED.pack(queue, types) for queue, types in entries)


def room(entries: Iterable[tuple[int, int]]) -> int:
    """Bytes of the replies to these."""
    return sum(s.BY_TYPE[kind].size for _, types in entries for kind in f.bits_of(types))


def parsed(replies: bytes) -> dict[int, dict[str, int]]:
    """The fields in a whole number of replies, by queue and name. Raises StatisticsRefused where they make no sense."""
    found: dict[int, dict[str, int]] = {}
    while replies:
        kind, queue, size = s.HEADER.unpack_from(replies.ljust(s.HEADER.size, b"\0"))
        known = s.BY_TYPE.get(kind)
        if known is None or size != known.size or len(replies) < size:
            raise StatisticsRefused(f"a reply of type {kind} and {size} bytes, of which {len(replies)} came")
        values = (number for (number,) in iter_unpack("<Q", replies[s.HEADER.size : size]))
        found.setdefault(queue, {}).update(zip(known.fields, values, strict=True))
        replies = replies[size:]
    return found


def _ask(driver: NetDriver, command: int, data: bytes, result: int) -> bytes:
    answer = driver.control_raw(bytes([n.CTRL_STATS, command]) + data, room=1 + result)
    if answer[:1] != n.OK:
        raise StatisticsRefused(f"command {command} of the class {n.CTRL_STATS} was answered with {answer[:1].hex()}")
    return answer[1:]
