"""virtnet log: how much the controller logs."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.reply import echo, show

HELP = "set log level"


def declare(parser: ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("-l", "--level", required=True, choices=("info", "err", "debug"), help="log level")


def run(options: Namespace, client: Client) -> int:
    """The log itself is the journal's: journalctl -u virtio-net-controller."""
    request = {"level": options.level}
    echo(request)
    return show(client.post("/v1/log", request))
