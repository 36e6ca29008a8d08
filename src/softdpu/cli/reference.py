"""The reference pages: made from the parsers and tables that the commands themselves use."""

import json
import typing
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import msgspec

from softdpu.api.app import create_app
from softdpu.api.service import Service
from softdpu.cli import mlxconfig, softdpu, virtnet
from softdpu.controller import configuration_keys, report
from softdpu.datapath import messages
from softdpu.firmware.parameters import TABLE
from softdpu.lab import commands as lab
from softdpu.spec import features, legacy, pci, pci_extended, virtio_net, virtio_pci
from softdpu.spec.registers import Bank, Reg
from softdpu.virtio import effects, status

WIDTH = 100  # columns, whatever terminal this runs in
BANKS = (
    pci.HEADER,
    pci.POWER_MANAGEMENT,
    pci.EXPRESS,
    pci_extended.ARI,
    pci_extended.SRIOV,
    pci.MSIX,
    pci.MSIX_ENTRY,
    virtio_pci.VIRTIO_CAP,
    virtio_pci.NOTIFY_CAP,
    virtio_pci.PCI_CFG_CAP,
    virtio_pci.COMMON,
    legacy.LEGACY_MSIX,
    virtio_net.CONFIG,
)


def pages() -> dict[str, str]:
    """Every page by file name; the same on every machine with the same Python."""
    return {
        "virtnet.md": _command("virtnet", virtnet.parser()),
        "mlxconfig.md": _command("mlxconfig", mlxconfig.parser()),
        "softdpu.md": _command("softdpu", softdpu.parser(), _lab()),
        "virtnet-conf.md": configuration_keys.reference(),
        "firmware.md": _firmware(),
        "registers.md": _registers(),
        "features.md": _features(),
        "status.md": _status(),
        "messages.md": _messages(),
        "openapi.json": _openapi(),
    }


# ---- commands


def _command(name: str, *parsers: ArgumentParser) -> str:
    """A command's help, and that of everything below it. A parser without options has nothing to say."""
    all_below = [below for parser in parsers for below in _parsers(parser) if below._actions]
    sections = [f"## {below.prog}\n\n```\n{below.format_help().rstrip()}\n```\n" for below in all_below]
    return f"# {name}\n\n" + "\n".join(sections)


def _lab() -> ArgumentParser:
    """The lab declares its own command line."""
    parser = ArgumentParser("softdpu lab", description=lab.__doc__)
    lab.add_arguments(parser)
    return parser


def _parsers(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    formatter = cast("Any", parser.formatter_class)
    parser.formatter_class = partial(formatter, width=WIDTH)
    yield parser
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for below in action.choices.values():
                yield from _parsers(below)


# ---- tables


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; what would end a cell is escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return (
        "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"
    )


def _firmware() -> str:
    rows = [(f"`{row.name}`", row.accepted, row.show(row.default), row.meaning) for row in TABLE]
    return (
        "# Firmware settings\n\n"
        "`mlxconfig -d 03:00.0 s NAME=VALUE …` changes the next boot; a power cycle makes it current.\n\n"
        + _table(("name", "accepted", "default", "meaning"), rows)
    )


def _registers() -> str:
    head = "# Registers\n\nOffsets are in bytes, numbers little-endian. *Writable*: the bits that a write sets.\n"
    return "\n".join([head, *map(_bank, BANKS)])


def _bank(bank: Bank) -> str:
    columns = ("offset", "bytes", "name", "access", "writable", "there with")
    return f"## {bank.name}\n\n{bank.clause}\n\n" + _table(columns, map(_register, bank.registers))


def _register(register: Reg) -> Sequence[object]:
    mask = f"{register.mask:#0{2 + 2 * register.size}x}" if register.mask else ""
    return f"{register.offset:#04x}", register.size, f"`{register.name}`", register.access.value, mask, register.needs


def _features() -> str:
    """As ``virtnet list`` names them; which device offers which of these, ``softdpu explain`` tells."""
    supported = report.controller("", 0, 0, 0)["supported_features"]
    absent = report.absent_features()
    rows = [
        (f.bit, f"`{f.name}`", f.view.value, _required(f), "yes" if str(f.bit) in supported else f"no: {absent[f.bit]}")
        for f in features.FEATURES.values()
    ]
    return (
        "# Feature bits\n\nA device offers what is implemented and what its setting leaves room for; "
        "`softdpu explain` tells for each bit why it was or was not negotiated.\n\n"
        + _table(("bit", "name", "seen through", "requires", "implemented"), rows)
        + "\nBits 64 to 70 of virtio 1.4 (RSS contexts, segmentation in UDP tunnels, outer headers, IPsec) are not "
        "implemented.\n\n## By export\n\n"
        "Over vfio-user the device is the whole function, and takes every command.\n\n"
        "Over vhost-user the VMM is the function, and answers the control queue itself. Of its commands only the "
        "number of queue pairs reaches the back end, as rings that are enabled: no message of the protocol carries a "
        "hash key, an indirection table, a time to hold interrupts back, a filter or a question for statistics. So "
        "RSS, HASH_REPORT, NOTF_COAL, VQ_NOTF_COAL and DEVICE_STATS are not offered there, and filters are the VMM's "
        "to keep. Several queue pairs work, with automatic receive steering: a flow comes back on the pair that it "
        "left by. A guest that needs more wants `--export vfio-user`.\n"
    )


def _required(feature: features.Feature) -> str:
    parts = [f"`{features.name_of(bit)}`" for bit in feature.requires]
    if feature.requires_any:
        parts.append(" or ".join(f"`{features.name_of(bit)}`" for bit in feature.requires_any))
    return " and ".join(parts)


# ---- device status


def modern_diagram() -> str:
    """The steps of a modern driver in the specification's order, as a Mermaid diagram."""
    steps = sorted((here, there) for here in status.LADDER for there in status.LADDER if here < there)
    names = [f"    s{value:x}: {value:#x} {_named(value)}" for value in status.LADDER]
    arrows = [f"    s{here:x} --> s{there:x}" for here, there in steps]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> s0", *names, *arrows, "```", ""])


def _named(value: int) -> str:
    return " ".join(name for bit, name in virtio_pci.STATUS_NAMES.items() if value & bit) or "reset"


def _status() -> str:
    values = sorted({here for here, _ in status.LEGACY_STEPS})
    rows = [
        (f"{here:#x}", _named(here), ", ".join(f"{to:#x}" for to in values if (here, to) in status.LEGACY_STEPS))
        for here in values
    ]
    return (
        "# Device status\n\n"
        "Writing 0 resets the device at any time. FAILED may be added to any status and not cleared but by a reset; "
        "DEVICE_NEEDS_RESET is the device's own. A write that is no legal step is a mistake of the driver: it is not "
        "taken, it is in the log and among the device's faults, and a modern driver finds DEVICE_NEEDS_RESET set.\n\n"
        f"## A modern driver\n\nVirtio 1.3 §3.1.1; several bits may be set at once.\n\n{modern_diagram()}\n"
        "A driver that leaves out ACKNOWLEDGE or DRIVER is served too, since iPXE is one. DRIVER_OK without "
        "FEATURES_OK is no legal step.\n\n"
        "## A legacy driver\n\nVirtio 1.3 §3.1.2: there is no FEATURES_OK, and drivers set the bits in any order. A "
        "driver that takes DRIVER_OK back (NetKVM, before its reset) gets its buffers back: no queue is served until "
        "it is set again.\n\n" + _table(("status", "is", "may be written"), rows)
    )


# ---- messages between the processes


def _messages() -> str:
    structures = (
        ("From the datapath", typing.get_args(messages.FromDatapath)),
        ("From the controller", typing.get_args(messages.FromController)),
        ("Effects: what an answer asks the datapath to do, in order", typing.get_args(effects.AnyEffect)),
    )
    sections = [f"## {title}\n\n" + "\n".join(map(_structure, kinds)) for title, kinds in structures]
    head = f"# Messages between controller and datapath\n\nDeclared in `{messages.__name__}`.\n\n"
    return head + _prose(messages.__doc__) + "\n\n" + "\n".join(sections)


def _structure(kind: type[msgspec.Struct]) -> str:
    rows = [(f"`{field.name}`", f"`{_kind(field.type)}`") for field in msgspec.structs.fields(kind)]
    table = _table(("field", "type"), rows) if rows else "No fields.\n"
    return f"### {kind.__name__}\n\n{_prose(kind.__doc__)}\n\n{table}"


def _kind(annotation: object) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    if typing.get_args(annotation) == typing.get_args(effects.AnyEffect):
        return "Effect"
    if typing.get_origin(annotation) is tuple:
        return f"tuple[{', '.join('…' if part is ... else _kind(part) for part in typing.get_args(annotation))}]"
    return str(annotation).replace("typing.", "").replace("softdpu.", "")


def _prose(docstring: str | None) -> str:
    """A docstring as Markdown."""
    return (docstring or "").strip().replace("``", "`").replace("\n    ", "\n")


def _openapi() -> str:
    """The HTTP interface; describing it asks nothing of a service."""
    app = create_app(cast("Service", object()))
    schema: dict[str, Any] = app.openapi_schema.to_schema()
    return json.dumps(schema, indent=2) + "\n"
