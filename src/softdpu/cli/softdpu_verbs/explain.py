"""softdpu explain: why each feature bit was or was not negotiated."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from softdpu.api.client import Client
from softdpu.cli.devices import DEVICE, add_device
from softdpu.cli.process import Exit
from softdpu.cli.reply import fields
from softdpu.controller.root import Root

HELP = "explain the feature negotiation of a device, bit by bit"
ROW = "{bit:>4}  {name:<28} {offered:<8} {accepted:<9} {why}"


def declare(parser: ArgumentParser) -> None:
    """Which device."""
    add_device(parser)


def run(options: Namespace, root: Root) -> int:
    """Prints a table, a row a bit."""
    explanation = Client(root.api).get("/v1/explain", fields(options, *DEVICE))
    print(f"{explanation['vuid']}, driven as: {explanation['mode']}")
    print(ROW.format(bit="bit", name="feature", offered="offered", accepted="accepted", why="why"))
    for feature in explanation["features"]:
        print(_row(feature))
    return Exit.SUCCESS


def _row(feature: Mapping[str, Any]) -> str:
    words = {name: "yes" if feature[name] else "no" for name in ("offered", "accepted")}
    return ROW.format(**{**feature, **words}).rstrip()
