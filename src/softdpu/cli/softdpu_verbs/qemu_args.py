"""softdpu qemu-args: options that plug the functions into a QEMU that is started by hand."""

import shlex
from argparse import ArgumentParser, Namespace

from softdpu.api.client import Client
from softdpu.cli.process import Exit
from softdpu.controller.root import Root

HELP = "print QEMU options that plug static PFs and unplugged functions in by hand"


def declare(parser: ArgumentParser) -> None:
    """No options."""


def run(_options: Namespace, root: Root) -> int:
    """One line for a shell: ``eval qemu-system-x86_64 $(softdpu qemu-args) …``."""
    print(shlex.join(Client(root.api).get("/v1/qemu-arguments")["arguments"]))
    return Exit.SUCCESS
