"""virtnet query: devices in full."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.devices import DEVICE, add_device, number
from softdpu.cli.reply import fields, show

HELP = "query all or individual virtnet device(s)"


def declare(parser: ArgumentParser) -> None:
    """Its options."""
    add_device(parser, every="all devices")
    parser.add_argument("-q", "--queue", type=number, metavar="QUEUE", help="only this queue")
    parser.add_argument("-b", "--brief", action="store_true", help="no queue information")


def run(options: Namespace, client: Client) -> int:
    """Prints ``devices``."""
    return show(client.get("/v1/query", fields(options, *DEVICE, "all", "queue", "brief")))
