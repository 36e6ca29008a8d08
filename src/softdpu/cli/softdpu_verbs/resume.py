"""softdpu resume: a device goes on that was saved or restored with --stop."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.devices import DEVICE, add_device
from softdpu.cli.reply import fields, show
from softdpu.controller.root import Root

HELP = "let a device go on that was stopped by softdpu save --stop or restore --stop"


def declare(parser: ArgumentParser) -> None:
    """Which device."""
    add_device(parser)


def run(options: Namespace, root: Root) -> int:
    """Returns when it goes on."""
    return show(Client(root.api).post("/v1/resume", fields(options, *DEVICE)))
