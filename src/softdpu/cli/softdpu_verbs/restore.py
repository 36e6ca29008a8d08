"""softdpu restore: a device goes on where the one stood whose state is in a file."""

import base64
import errno
from argparse import ArgumentParser, Namespace
from pathlib import Path

from softdpu.api.client import Client
from softdpu.cli.devices import DEVICE, add_device
from softdpu.cli.reply import fields, show
from softdpu.controller.errors import OperatorError
from softdpu.controller.root import Root

HELP = "have a device go on where a saved one stood"
LARGEST = 512 << 10  # bytes; a state has a few thousand


def declare(parser: ArgumentParser) -> None:
    """Which device, and where from."""
    add_device(parser)
    parser.add_argument("--stop", action="store_true", help="leave the device stopped there, until softdpu resume")
    parser.add_argument("file", type=Path, metavar="FILE", help="what softdpu save has written")


def run(options: Namespace, root: Root) -> int:
    """Returns when the device goes on."""
    request = fields(options, *DEVICE, "stop") | {"state": base64.b64encode(_read(options.file)).decode()}
    return show(Client(root.api).post("/v1/restore", request))


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
    except OSError as error:
        raise OperatorError(
            error.errno or errno.EIO, f"{file} cannot be read ({error.strerror}): name a file of softdpu save."
        ) from error
    if len(content) > LARGEST:
        raise OperatorError(errno.EFBIG, f"{file} is no saved state: it has more than {LARGEST} bytes.")
    return content
