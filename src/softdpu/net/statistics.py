"""Statistics that a driver asks for (virtio 1.4 §5.1.6.5.11), from what the datapath has counted.

They are those of the function, and go on when a driver leaves and another comes: the operator sees the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from struct import pack
from typing import TypeAlias

from softdpu.net.commanded import Commanded, Done
from softdpu.spec import net_statistics as s
from softdpu.spec.features import bits_of, mask_of

Counted: TypeAlias = Callable[[int], Mapping[str, int]]
"""What was counted on a queue, by the names in ``softdpu.datapath.counters``."""

WRAP = 1 << 64


def nothing(_queue: int) -> Mapping[str, int]:
    """What is counted where no datapath serves the function."""
    return defaultdict(int)


# Each field as counters to be added, and to be taken off; no counters: what never happens here.
#
# Checksums are not verified by the device, so none is found bad, and "none" are the frames of which nothing is said.
# Nothing is coalesced. A transmit queue passes on whole what is to be cut; where a receiver cannot take that, it is cut
# for that receiver alone. Speed has no allowance: its two types are not there.
FILLED: dict[str, tuple[str, ...]] = {
    "command_num": ("commands",),
    "ok_num": ("commands_ok",),
    "rx_notifications": ("doorbells",),
    "rx_packets": ("frames",),
    "rx_bytes": ("octets",),
    "rx_interrupts": ("interrupts",),
    "rx_drops": ("drop_no_buffer", "drop_not_ready", "drop_bad_header", "drop_bad_descriptor", "drop_too_short"),
    "rx_drop_overruns": ("drop_no_buffer",),
    "tx_notifications": ("doorbells",),
    "tx_packets": ("frames", "-unsent_frames"),
    "tx_bytes": ("octets", "-unsent_octets"),
    "tx_interrupts": ("interrupts",),
    "tx_drops": ("unsent_frames", "drop_bad_header", "drop_bad_descriptor", "drop_too_short"),
    "tx_drop_malformed": ("drop_bad_header", "drop_bad_descriptor", "drop_too_short"),
    "rx_csum_valid": ("csum_valid",),
    "rx_needs_csum": ("needs_csum",),
    "rx_csum_none": ("frames", "-csum_valid", "-needs_csum"),
    "rx_csum_bad": (),
    "tx_csum_none": ("frames", "-needs_csum"),
    "tx_needs_csum": ("needs_csum",),
    "rx_gso_packets": ("gso_frames",),
    "rx_gso_bytes": ("gso_octets",),
    "rx_gso_packets_coalesced": (),
    "rx_gso_bytes_coalesced": (),
    "tx_gso_packets": ("gso_frames", "-unsent_gso_frames"),
    "tx_gso_bytes": ("gso_octets", "-unsent_gso_octets"),
    "tx_gso_segments": (),
    "tx_gso_segments_bytes": (),
    "tx_gso_packets_noseg": ("gso_frames", "-unsent_gso_frames"),
    "tx_gso_bytes_noseg": ("gso_octets", "-unsent_gso_octets"),
}
OFFERED = tuple(statistics for statistics in s.TYPES if all(field in FILLED for field in statistics.fields))


def statistics(device: Commanded, command: int, data: bytes, counted: Counted) -> Done:
    """The class CTRL_STATS."""
    if command == s.QUERY:
        return None if data else s.CAPABILITIES.pack(mask_of(*(kind.type for kind in OFFERED if _has(device, kind))))
    return _get(device, data, counted)


def _get(device: Commanded, data: bytes, counted: Counted) -> Done:
    """One mistake among the entries fails them all. What is ``reserved`` is not looked at."""
    # Nobody has a reason to ask for a type of a queue twice; who does so for hours on end gets no answer of megabytes.
    if len(data) % s.ASKED.size or len(data) // s.ASKED.size > len(OFFERED) * device.queues:
        return None
    asked = list(_asked(data))
    if not all(_valid(device, queue, kind) for queue, kind in asked):
        return None
    counts = cache(counted)
    return b"".join(_reply(s.BY_TYPE[kind], queue, counts(queue)) for queue, kind in asked)


def _asked(data: bytes) -> Iterator[tuple[int, int]]:
    """Each queue that is named, with each of its types; lower types come first."""
    for queue, types in s.ASKED.iter_unpack(data):
        yield from ((queue, kind) for kind in bits_of(types))


def _valid(device: Commanded, queue: int, kind: int) -> bool:
    found = s.BY_TYPE.get(kind)
    return found in OFFERED and device.kind_of(queue) == found.kind and _has(device, found)


def _has(device: Commanded, kind: s.Statistics) -> bool:
    """A type whose features were not negotiated cannot be had, so a driver is not told of it: Linux asks for all."""
    return not kind.requires_any or any(map(device.has, kind.requires_any))


def _reply(kind: s.Statistics, queue: int, counts: Mapping[str, int]) -> bytes:
    values = (value(field, counts) % WRAP for field in kind.fields)
    return s.HEADER.pack(kind.type, queue, kind.size) + pack(f"<{len(kind.fields)}Q", *values)


def value(field: str, counts: Mapping[str, int]) -> int:
    """A field from what was counted on its queue; never below zero, while a batch is being counted."""
    signed = (-counts[name[1:]] if name.startswith("-") else counts[name] for name in FILLED[field])
    answered_now = field == "ok_num"  # the command that asks counts too, and will be carried out
    return max(0, sum(signed)) + answered_now
