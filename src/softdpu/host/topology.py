"""The buses of a QEMU machine that devices can be plugged into, from what QMP tells of it. Pure.

Until the firmware has numbered the buses, query-pci shows nothing of what is behind a bridge.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from softdpu.host.interface import format_bdf
from softdpu.pci.windows import LOWEST_PORT, Bridge, Kind, Range, foresee

PciDevice: TypeAlias = Mapping[str, Any]  # QMP PciDeviceInfo

CONVENTIONAL_SLOTS = tuple(range(1, 32))  # a standard hot-plug controller has slots 1 to 31 (SHPC 1.0 §4.9.2)
ROOT_SLOTS = tuple(range(32))

I440FX = (0x8086, 0x1237)  # its bus pci.0 takes hot plug; q35's pcie.0 does not
BRIDGES: Mapping[tuple[int, int], Kind] = {
    (0x1B36, 0x000C): "port",  # pcie-root-port
    (0x8086, 0x3420): "port",  # ioh3420
    (0x104C, 0x8233): "port",  # xio3130-downstream
    (0x1B36, 0x000E): "conventional",  # pcie-pci-bridge
    (0x1B36, 0x0001): "conventional",  # pci-bridge
}


class Properties(msgspec.Struct, frozen=True):
    """What QMP tells of a bridge beside query-pci."""

    hotplug: bool = True
    io_reserve: int | None = None  # bytes that the firmware is asked to reserve; None: not said


class Topology(msgspec.Struct, frozen=True):
    """Where a function can be plugged in, and which bridges take none, with the reason."""

    bridges: tuple[Bridge, ...]
    unusable: tuple[str, ...]
    foreseen: bool = False  # nobody has set the bridges up yet: their windows are what they will get


def devices(answer: Sequence[Mapping[str, Any]]) -> Iterator[PciDevice]:
    """Every device in an answer to query-pci, bridges before what is behind them."""
    for bus in answer:
        yield from _below(bus["devices"])


def address(answer: Sequence[Mapping[str, Any]], device_id: str) -> str | None:
    """The guest's address of a device; None when it is not there, or behind a bridge without a number yet."""
    for device in devices(answer):
        if device["qdev_id"] == device_id:
            return _address(device, answer)
    return None


def bridge_ids(answer: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Ids of the bridges whose properties `topology` needs."""
    return tuple(d["qdev_id"] for d in devices(answer) if _identity(d) in BRIDGES and d["qdev_id"])


def topology(answer: Sequence[Mapping[str, Any]], properties: Callable[[str], Properties]) -> Topology:
    """The topology from an answer to query-pci and each bridge's properties."""
    bridges: list[Bridge] = []
    unusable: list[str] = []
    for device in devices(answer):
        if _identity(device) == I440FX:
            bridges.append(_root(answer[0]["devices"]))
        elif kind := BRIDGES.get(_identity(device)):
            _add_bridge(device, kind, properties, bridges, unusable)
    foreseen = foresee(bridges)
    return Topology(foreseen, tuple(unusable), foreseen != tuple(bridges))


def _add_bridge(
    device: PciDevice,
    kind: Kind,
    properties: Callable[[str], Properties],
    bridges: list[Bridge],
    unusable: list[str],
) -> None:
    name = device["qdev_id"]
    if not name:
        where = format_bdf(device["bus"], device["slot"], device["function"])
        unusable.append(f"the bridge at {where} has no id")
        return
    own = properties(name)
    if own.hotplug:
        bridges.append(_bridge(device, kind, own))
    else:
        unusable.append(f"{name} was started with hotplug=off")


def _bridge(device: PciDevice, kind: Kind, own: Properties) -> Bridge:
    window = device["pci_bridge"]["bus"]["io_range"]
    children = device["pci_bridge"].get("devices", [])
    bars = [region for child in children for region in child["regions"] if region["type"] == "io"]
    return Bridge(
        name=device["qdev_id"],
        kind=kind,
        base=window["base"],
        limit=window["limit"],
        slots=(0,) if kind == "port" else CONVENTIONAL_SLOTS,
        taken=tuple(sorted({child["slot"] for child in children})),
        claimed=(*_bars(bars), *_windows(children)),
        waiting=sum(not _placed(bar) for bar in bars),
        never=own.io_reserve == 0,
    )


def _root(children: Sequence[PciDevice]) -> Bridge:
    """The bus pci.0 of an i440fx, as if a bridge led to it that passes all ports from 1000h."""
    bars = [region for child in children for region in child["regions"] if region["type"] == "io"]
    return Bridge(
        name="pci.0",
        kind="root",
        base=LOWEST_PORT,
        limit=0xFFFF,
        slots=ROOT_SLOTS,
        taken=tuple(sorted({child["slot"] for child in children})),
        claimed=(*_bars(bars), *_windows(children)),
        waiting=sum(not _placed(bar) for bar in bars),
    )


def _bars(regions: Sequence[Mapping[str, Any]]) -> tuple[Range, ...]:
    return tuple(Range(r["address"], r["size"]) for r in regions if _placed(r))


def _placed(region: Mapping[str, Any]) -> bool:
    return bool(region["address"] > 0)  # QEMU says -1 for a BAR without an address


def _windows(children: Sequence[PciDevice]) -> tuple[Range, ...]:
    ranges = [child["pci_bridge"]["bus"]["io_range"] for child in children if "pci_bridge" in child]
    return tuple(Range(r["base"], r["limit"] + 1 - r["base"]) for r in ranges if LOWEST_PORT <= r["base"] <= r["limit"])


def _below(found: Sequence[PciDevice]) -> Iterator[PciDevice]:
    for device in found:
        yield device
        if "pci_bridge" in device:
            yield from _below(device["pci_bridge"].get("devices", []))


def _identity(device: PciDevice) -> tuple[int, int]:
    return device["id"]["vendor"], device["id"]["device"]


def _address(device: PciDevice, answer: Sequence[Mapping[str, Any]]) -> str | None:
    roots = {bus["bus"] for bus in answer}
    on_root = any(device is found for bus in answer for found in bus["devices"])
    if not on_root and device["bus"] in roots:
        return None  # the bridge before it still has number 0, which is the root's
    return format_bdf(device["bus"], device["slot"], device["function"])
