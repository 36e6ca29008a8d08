"""softdpu stop: end controller and datapath; guests lose their devices."""

import errno
import time
from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client, ControllerNotRunning
from softdpu.cli import orphan
from softdpu.cli.process import Exit
from softdpu.controller.errors import OperatorError
from softdpu.controller.root import Root

HELP = "end the controller and its datapath"
PATIENCE = 10.0  # seconds


def declare(parser: ArgumentParser) -> None:
    """No options."""


def run(_options: Namespace, root: Root) -> int:
    """Returns when both have ended. A datapath whose controller has died is ended too."""
    client = Client(root.api)
    try:
        client.post("/v1/stop")
    except ControllerNotRunning:
        orphan.refuse_if_locked(root, "stop it")
        if not orphan.end(root):
            raise
        return Exit.SUCCESS
    deadline = time.monotonic() + PATIENCE
    while orphan.locked(root):
        if time.monotonic() > deadline:
            raise OperatorError(errno.ETIMEDOUT, f"the controller has not ended within {PATIENCE:.0f} s: see its log.")
        time.sleep(0.02)
    return Exit.SUCCESS
