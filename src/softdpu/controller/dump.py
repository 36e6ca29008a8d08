"""All that is known of a device, for ``virtnet debug state``: its registers and settings, its queues, its commands."""

from typing import Any

import msgspec

from softdpu.controller import report
from softdpu.controller.devices import Device
from softdpu.datapath.client import DatapathLink


def dump(subject: Device, link: DatapathLink) -> dict[str, Any]:
    """``state``: the one from which the function could be made again; ``queues``: every counter of the enabled ones."""
    return {
        "pf_id": subject.record.pf_id,
        "vuid": subject.name,
        "function": subject.number,  # as the datapath's log has it
        "peer": subject.peer,
        "state": _readable(msgspec.to_builtins(subject.function.state, builtin_types=(bytes,))),
        "queues": [queue(subject, link, index) for index in report.enabled(subject)],
        "counters": link.function_counters(subject.number),
        **report.administration(subject),
    }


def queue(subject: Device, link: DatapathLink, index: int) -> dict[str, Any]:
    """What was counted on a queue, and how many of its chains the device holds."""
    counted = link.queue_counters(subject.number, index)
    held = subject.function.coalescing(index)
    return {
        "index": index,
        "taken_and_not_used": counted["received_desc"] - counted["completed_desc"],
        "held_back": {"frames": held.packets, "microseconds": held.microseconds, "pace": held.pace or "driver"},
        **counted,
    }


def _readable(value: Any) -> Any:
    """Bytes as hexadecimal text, keys as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _readable(item) for key, item in value.items()}
    return [_readable(item) for item in value] if isinstance(value, list | tuple) else value
