"""virtnet unplug: take a hotplug PF away."""

from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.devices import DEVICE, add_device
from softdpu.cli.reply import echo, fields, show

HELP = "unplug virtnet device"


def declare(parser: ArgumentParser) -> None:
    """Its options."""
    add_device(parser, vf=False)


def run(options: Namespace, client: Client) -> int:
    """Returns when the host has let go of the device."""
    request = fields(options, *DEVICE)
    echo(request)
    return show(client.post("/v1/unplug", request))
