"""virtnet version: the running controller's version, and the installed one's."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.process import Exit
from softdpu.cli.reply import pretty

HELP = "show virtio net controller version info"


def declare(parser: ArgumentParser) -> None:
    """No options."""


def run(_options: Namespace, client: Client) -> int:
    """Prints one object a version, with a comma between them, as the real one does."""
    versions = client.get("/v1/version")
    print(",\n".join(pretty({which: version}) for which, version in versions.items()))
    return Exit.SUCCESS
