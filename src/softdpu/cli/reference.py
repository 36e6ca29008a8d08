"""The reference pages: made from the parsers and tables that the commands themselves use."""

import json
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

from softdpu.api.app import create_app
from softdpu.api.service import Service
from softdpu.cli import mlxconfig, softdpu, virtnet
from softdpu.controller import configuration_keys
from softdpu.firmware.parameters import TABLE

WIDTH = 100  # columns, whatever terminal this runs in


def pages() -> dict[str, str]:
    """Every page by file name; the same on every machine."""
    commands = {"virtnet": virtnet.parser, "mlxconfig": mlxconfig.parser, "softdpu": softdpu.parser}
    return {
        **{f"{name}.md": _command(name, declare()) for name, declare in commands.items()},
        "virtnet-conf.md": configuration_keys.reference(),
        "firmware.md": _firmware(),
        "openapi.json": _openapi(),
    }


def _command(name: str, parser: ArgumentParser) -> str:
    """A command's help, and that of everything below it."""
    sections = [f"## {below.prog}\n\n```\n{below.format_help().rstrip()}\n```\n" for below in _parsers(parser)]
    return f"# {name}\n\n" + "\n".join(sections)


def _parsers(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    formatter = cast("Any", parser.formatter_class)
    parser.formatter_class = partial(formatter, width=WIDTH)
    yield parser
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for below in action.choices.values():
                yield from _parsers(below)


def _firmware() -> str:
    rows = [f"| `{row.name}` | {row.accepted} | {row.show(row.default)} | {row.meaning} |" for row in TABLE]
    head = (
        "# Firmware settings",
        "",
        "`mlxconfig -d 03:00.0 s NAME=VALUE …` changes the next boot; a power cycle makes it current.",
        "",
        "| name | accepted | default | meaning |",
        "|---|---|---|---|",
    )
    return "\n".join([*head, *rows, ""])


def _openapi() -> str:
    """The HTTP interface; describing it asks nothing of a service."""
    app = create_app(cast("Service", object()))
    schema: dict[str, Any] = app.openapi_schema.to_schema()
    return json.dumps(schema, indent=2) + "\n"
