"""The verbs of virtnet, a file each: ``declare`` its options, ``run`` it. Their order here is that of the help."""

from argparse import ArgumentParser, Namespace
from types import ModuleType
from typing import Protocol, cast

from softdpu.api.client import Client
from softdpu.cli.virtnet_verbs import (
    debug,
    health,
    hotplug,
    list_,
    log,
    modify,
    query,
    restart,
    stats,
    unplug,
    update,
    validate,
    version,
)


class Verb(Protocol):
    """A verb's module."""

    HELP: str

    def declare(self, parser: ArgumentParser) -> None:
        """Add its options."""

    def run(self, options: Namespace, client: Client) -> int:
        """Do it; returns the exit status. A refusal is an OperatorError."""


MODULES: dict[str, ModuleType] = {
    "hotplug": hotplug,
    "unplug": unplug,
    "list": list_,
    "query": query,
    "modify": modify,
    "log": log,
    "version": version,
    "update": update,
    "debug": debug,
    "stats": stats,
    "health": health,
    "validate": validate,
    "restart": restart,
}
VERBS = {name: cast("Verb", module) for name, module in MODULES.items()}
