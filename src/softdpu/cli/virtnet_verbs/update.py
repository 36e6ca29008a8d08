"""virtnet update: live update to the installed version."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.reply import echo, show

HELP = "update controller"


def declare(parser: ArgumentParser) -> None:
    """Its options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-s", "--start", action="store_true", help="start live update")
    what.add_argument("-t", "--status", action="store_true", help="show live update status")


def run(options: Namespace, client: Client) -> int:
    """Starting returns at once; the status tells how it goes."""
    if options.status:
        return show(client.get("/v1/update"))
    echo({"start": 1})
    return show(client.post("/v1/update"))
