"""virtnet list: the controller and all devices."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.reply import show

HELP = "list all virtnet devices"


def declare(parser: ArgumentParser) -> None:
    """No options."""


def run(_options: Namespace, client: Client) -> int:
    """Prints ``controller`` and ``devices``."""
    return show(client.get("/v1/list"))
