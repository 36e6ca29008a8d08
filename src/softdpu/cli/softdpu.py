# PYTHON_ARGCOMPLETE_OK
"""softdpu: what a software DPU has beyond the real one: a lab, a power switch, hosts to plug into, explanations."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from softdpu import __version__
from softdpu.cli.process import Exit, add_root, as_process, complete
from softdpu.cli.softdpu_verbs import VERBS
from softdpu.controller.errors import OperatorError
from softdpu.controller.root import Root
from softdpu.firmware.parameters import FirmwareError


def parser() -> ArgumentParser:
    """The declaration of the command line."""
    declared = ArgumentParser("softdpu", description=__doc__)
    declared.add_argument("-v", "--version", action="version", version=f"v{__version__}")
    add_root(declared)
    verbs = declared.add_subparsers(dest="verb", required=True)
    for name, verb in VERBS.items():
        verb.declare(verbs.add_parser(name, help=verb.HELP, description=verb.HELP, add_help=name != "lab"))
    return declared


def command(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status."""
    declared = parser()
    complete(declared)
    options = _parse(declared, arguments)
    try:
        return VERBS[options.verb].run(options, Root.chosen(options.root))
    except (OperatorError, FirmwareError) as error:
        print(f"softdpu: {error}", file=sys.stderr)
        return Exit.FAILURE


def _parse(declared: ArgumentParser, arguments: Sequence[str]) -> Namespace:
    """The options; what stands behind ``lab`` is the lab's own and stays as it is."""
    if arguments[:1] != ["lab"]:
        return declared.parse_args(arguments)
    options = declared.parse_args(["lab"])
    options.rest = arguments[1:]
    return options


def main() -> None:
    """The installed command."""
    as_process(command)
