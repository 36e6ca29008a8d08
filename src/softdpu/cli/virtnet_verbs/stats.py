"""virtnet stats: packet counters."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.devices import DEVICE, add_device, number
from softdpu.cli.reply import echo, fields, show

HELP = "stats of virtnet device"


def declare(parser: ArgumentParser) -> None:
    """Its options."""
    add_device(parser)
    parser.add_argument("-q", "--queue_id", type=number, metavar="QUEUE", help="only this queue")


def run(options: Namespace, client: Client) -> int:
    """Prints ``device``."""
    request = fields(options, *DEVICE, "queue_id")
    echo(request)
    return show(client.get("/v1/stats", request))
