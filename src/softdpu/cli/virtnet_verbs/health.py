"""virtnet health: whether the service and each device is well."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.reply import show

HELP = "controller health utility"


def declare(parser: ArgumentParser) -> None:
    """No options."""


def run(_options: Namespace, client: Client) -> int:
    """Prints ``service`` and ``devices``."""
    return show(client.get("/v1/health"))
