"""The verbs of softdpu, a file each: ``declare`` its options, ``run`` it. Their order here is that of the help."""

from argparse import ArgumentParser, Namespace
from types import ModuleType
from typing import Protocol, cast

from softdpu.cli.softdpu_verbs import (
    docs,
    doctor,
    explain,
    host,
    lab,
    power_cycle,
    qemu_args,
    restore,
    resume,
    save,
    stop,
    vfs,
)
from softdpu.controller.root import Root


class Verb(Protocol):
    """A verb's module."""

    HELP: str

    def declare(self, parser: ArgumentParser) -> None:
        """Add its options."""

    def run(self, options: Namespace, root: Root) -> int:
        """Do it; returns the exit status. A refusal is an exception whose text is the sentence."""


MODULES: dict[str, ModuleType] = {
    "lab": lab,
    "power-cycle": power_cycle,
    "host": host,
    "vfs": vfs,
    "save": save,
    "restore": restore,
    "resume": resume,
    "stop": stop,
    "qemu-args": qemu_args,
    "explain": explain,
    "doctor": doctor,
    "docs": docs,
}
VERBS = {name: cast("Verb", module) for name, module in MODULES.items()}
