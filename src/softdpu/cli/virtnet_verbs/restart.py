"""virtnet restart: a fresh controller takes over; no device is lost."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.reply import show
from softdpu.cli.successor import Successor

HELP = "Do fast restart of controller without killing the service"


def declare(parser: ArgumentParser) -> None:
    """No options."""


def run(_options: Namespace, client: Client) -> int:
    """Returns when the new controller answers."""
    with Successor(client):
        reply = client.post("/v1/restart")
    return show(reply)
