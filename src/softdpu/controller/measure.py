"""Counters as metrics, and the options that plug a function into a QEMU by hand."""

import json
from collections.abc import Sequence
from pathlib import Path

from softdpu.controller import report
from softdpu.controller.devices import Device
from softdpu.controller.report import enabled
from softdpu.controller.requests import Family, Sample
from softdpu.controller.root import Root
from softdpu.datapath.client import DatapathLink
from softdpu.datapath.counters import FUNCTION_COUNTERS, QUEUE_COUNTERS
from softdpu.host import vhost_user


def qemu_arguments(device: Device, root: Root) -> list[str]:
    """QEMU's options that plug a function in by hand."""
    path = root.export(device.record.vuid)
    if device.export == "vhost-user":
        to = device.record.connects_to
        config = device.function.state.config
        return vhost_user.command_line(device.record.vuid, Path(to) if to else path, config, listens=bool(to))
    socket = {"type": "unix", "path": str(path)}
    return ["-device", json.dumps({"driver": "vfio-user-pci", "socket": socket, "id": device.record.vuid})]


def families(devices: Sequence[Device], link: DatapathLink, uplinks: Sequence[int] = ()) -> tuple[Family, ...]:
    """Every counter of every device, its state, and how many devices there are; those of uplinks, as vuid p0 and p1."""
    return (
        Family("softdpu_devices", "Devices of the DPU", "gauge", (), (Sample((), len(devices)),)),
        Family(
            "softdpu_device_status",
            "Device status register",
            "gauge",
            ("vuid",),
            tuple(Sample((d.name,), d.function.status) for d in devices),
        ),
        *_function_families(devices, link, uplinks),
        *_queue_families(devices, link),
        *_worker_families(link),
        _administration(devices),
    )


def _worker_families(link: DatapathLink) -> tuple[Family, ...]:
    """What the datapath's threads do."""
    rows = [((str(number),), row) for number, row in enumerate(link.workers())]
    busy, queues = "softdpu_worker_busy_seconds", "softdpu_worker_queues"
    return (
        Family(busy, "Time that a worker moved frames", "counter", ("worker",), _each(rows, "busy_ns", 1e-9)),
        Family(queues, "Queues that a worker serves", "gauge", ("worker",), _each(rows, "queues")),
    )


def _each(rows: Sequence[tuple[tuple[str], dict[str, int]]], figure: str, unit: float = 1) -> tuple[Sample, ...]:
    return tuple(Sample(labels, row[figure] * unit) for labels, row in rows)


def _administration(devices: Sequence[Device]) -> Family:
    """Commands of administration virtqueues, by name and outcome."""
    samples = [
        Sample((device.name, command, outcome), count)
        for device in devices
        for command, counts in report.administration(device).get("admin-queue", {}).get("commands", {}).items()
        for outcome, count in counts.items()
    ]
    text = "Commands of the administration virtqueue"
    return Family("softdpu_admin_commands", text, "counter", ("vuid", "command", "outcome"), tuple(samples))


def _function_families(devices: Sequence[Device], link: DatapathLink, uplinks: Sequence[int]) -> list[Family]:
    rows = {d.name: link.function_counters(d.number) for d in devices}
    rows |= {f"p{number}": link.uplink_counters(number) for number in uplinks}
    return [
        Family(
            f"softdpu_{counter}",
            counter.replace("_", " "),
            "counter",
            ("vuid",),
            tuple(Sample((name,), row[counter]) for name, row in rows.items()),
        )
        for counter in FUNCTION_COUNTERS
    ]


def _queue_families(devices: Sequence[Device], link: DatapathLink) -> list[Family]:
    rows = {(d.name, str(index)): link.queue_counters(d.number, index) for d in devices for index in enabled(d)}
    return [
        Family(
            f"softdpu_queue_{counter}",
            f"{counter.replace('_', ' ')} of a virtqueue",
            "counter",
            ("vuid", "queue"),
            tuple(Sample(labels, row[counter]) for labels, row in rows.items()),
        )
        for counter in QUEUE_COUNTERS
    ]
