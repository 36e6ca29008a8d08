"""virtnet update: live update to the installed version."""

from argparse import ArgumentParser, Namespace
from typing import Any

from softdpu.api.client import Client, ControllerNotRunning
from softdpu.cli import orphan
from softdpu.cli.reply import echo, show
from softdpu.controller.root import Root

HELP = "update controller"


def declare(parser: ArgumentParser) -> None:
    """Its options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-s", "--start", action="store_true", help="start live update")
    what.add_argument("-t", "--status", action="store_true", help="show live update status")


def run(options: Namespace, client: Client) -> int:
    """Starting returns at once; the status tells how it goes."""
    if options.status:
        return show(_status(client, Root.chosen(options.root)))
    echo({"start": 1})
    return show(client.post("/v1/update"))


def _status(client: Client, root: Root) -> dict[str, Any]:
    """The controller's; while none answers, what the update's file says, for then the update may be why."""
    try:
        return client.get("/v1/update")
    except ControllerNotRunning:
        from softdpu.controller.update import LiveUpdate  # noqa: PLC0415  # slow to import

        update = LiveUpdate(root)
        status = update.status()
        if status["last status"] == "none" and not update.running:
            raise
        return status if orphan.locked(root) else status | update.abandoned()
