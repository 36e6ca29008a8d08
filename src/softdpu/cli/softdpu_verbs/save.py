"""softdpu save: a device's state into a file, at a moment at which it stands still."""

import base64
import errno
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from softdpu.api.client import Client
from softdpu.cli.devices import DEVICE, add_device
from softdpu.cli.reply import fields, show
from softdpu.controller import durable
from softdpu.controller.errors import OperatorError
from softdpu.controller.root import Root

HELP = "save the state of a device in a file, for softdpu restore"


def declare(parser: ArgumentParser) -> None:
    """Which device, and where to."""
    add_device(parser)
    parser.add_argument("--stop", action="store_true", help="leave the device stopped, until softdpu resume or restore")
    parser.add_argument("file", type=Path, metavar="FILE", help="is replaced when all has been written")


def run(options: Namespace, root: Root) -> int:
    """Returns when the file is on the disk."""
    _check(options.file)
    reply = Client(root.api).post("/v1/save", fields(options, *DEVICE, "stop"))
    _write(options.file, base64.b64decode(reply.pop("state")), reply)
    return show({"file": str(options.file)} | reply)


def _check(file: Path) -> None:
    """Better known before the device is stopped."""
    if file.is_dir() or not (file.parent.is_dir() and os.access(file.parent, os.W_OK)):
        raise OperatorError(errno.ENOENT, f"{file} cannot be written: name a file in a folder that is there.")


def _write(file: Path, state: bytes, reply: dict[str, Any]) -> None:
    try:
        durable.replace(file, state)
    except OperatorError as error:
        if not reply["stopped"]:
            raise
        hint = f"{reply['vuid']} is stopped: softdpu resume -u {reply['vuid']} lets it go on."
        raise OperatorError(error.errno, f"{error} {hint}") from error
