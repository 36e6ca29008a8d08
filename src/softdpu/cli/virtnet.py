# PYTHON_ARGCOMPLETE_OK
"""virtnet: the operator's command on the DPU. It asks the controller over its socket and prints what it answers."""

from argparse import ArgumentParser
from collections.abc import Sequence

from softdpu import __version__
from softdpu.api.client import Client
from softdpu.cli.process import add_root, as_process, complete
from softdpu.cli.reply import refuse
from softdpu.cli.virtnet_verbs import VERBS
from softdpu.controller.errors import OperatorError
from softdpu.controller.root import Root


def parser() -> ArgumentParser:
    """The declaration of the command line."""
    description = f"softdpu virtio-net-controller command line interface v{__version__}"
    declared = ArgumentParser("virtnet", description=description)
    declared.add_argument("-v", "--version", action="version", version=f"v{__version__}")
    add_root(declared)
    verbs = declared.add_subparsers(dest="verb", required=True, help="** Use -h for sub-command usage")
    for name, verb in VERBS.items():
        verb.declare(verbs.add_parser(name, help=verb.HELP, description=verb.HELP))
    return declared


def command(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status."""
    declared = parser()
    complete(declared)
    options = declared.parse_args(arguments)
    try:
        return VERBS[options.verb].run(options, Client(Root.chosen(options.root).api))
    except OperatorError as error:
        return refuse(error)


def main() -> None:
    """The installed command."""
    as_process(command)
