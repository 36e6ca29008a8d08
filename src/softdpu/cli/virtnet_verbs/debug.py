"""virtnet debug: what helps to find out why. Its commands may change."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.devices import DEVICE, add_device
from softdpu.cli.process import Exit
from softdpu.cli.reply import fields, show

HELP = "For debug purpose, cmds can be changed without notice"


def declare(parser: ArgumentParser) -> None:
    """Its commands."""
    what = parser.add_subparsers(dest="what", required=True, metavar="{explain,state,metrics}")
    add_device(what.add_parser("explain", help="the feature negotiation of a device, bit by bit"))
    add_device(what.add_parser("state", help="all that is known of a device: registers, settings, queues, commands"))
    what.add_parser("metrics", help="every counter, as Prometheus reads it")


def run(options: Namespace, client: Client) -> int:
    """Prints JSON for explain and state, text for metrics."""
    if options.what != "metrics":
        return show(client.get(f"/v1/{options.what}", fields(options, *DEVICE)))
    print(client.text("/metrics"), end="")
    return Exit.SUCCESS
