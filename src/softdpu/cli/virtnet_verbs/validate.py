"""virtnet validate: check a virtnet.conf. It needs no controller."""

import errno
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from softdpu.api.client import Client
from softdpu.cli.process import Exit
from softdpu.cli.reply import pretty
from softdpu.controller.errors import OperatorError
from softdpu.controller.root import Root

if TYPE_CHECKING:
    from softdpu.controller.configuration import Reading

HELP = "validate configurations"


def declare(parser: ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("-f", "--file", metavar="FILE", help="the file to check (default: the installed virtnet.conf)")


def run(options: Namespace, _client: Client) -> int:
    """Prints every mistake and every warning with its line."""
    from softdpu.controller import configuration  # noqa: PLC0415  # msgspec is slow to import
    from softdpu.firmware import Firmware, FirmwareError  # noqa: PLC0415
    from softdpu.firmware.rules import contradictions  # noqa: PLC0415

    root = Root.chosen(options.root)
    path = Path(options.file) if options.file else root.configuration
    if options.file and not path.exists():
        raise OperatorError(errno.ENOENT, f"there is no file {path}: name a virtnet.conf with -f.")
    try:
        firmware = Firmware.load(root.path).current
    except FirmwareError as error:
        raise OperatorError(error.errno, str(error)) from error
    reading = configuration.read(path, firmware["VIRTIO_NET_EMULATION_NUM_VF"])
    odd = contradictions(firmware, reading.configuration.lm_prov == "kernel")
    print(pretty(_report(path, reading, [{"line": 0, "key": "lm_prov", "sentence": sentence} for sentence in odd])))
    return Exit.FAILURE if reading.mistakes else Exit.SUCCESS


def _report(path: Path, reading: "Reading", odd: list[dict[str, object]]) -> dict[str, object]:
    """Each finding has its line, its key (empty: the file as a whole) and its sentence.

    ``odd`` are warnings of what no line says, but file and firmware together (line 0).
    """
    return {
        "file": str(path),
        "errors": [vars(mistake) for mistake in reading.mistakes],
        "warnings": [vars(warning) for warning in reading.warnings] + odd,
        "errno": errno.EINVAL if reading.mistakes else 0,
        "errstr": f"{path}, {reading.mistakes[0]}" if reading.mistakes else "Success",
    }
