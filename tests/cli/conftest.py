"""Fixtures of the commands' tests: a root, a served controller, and the commands bound to it."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from softdpu.cli import mlxconfig, softdpu, virtnet
from softdpu.controller.root import Root
from tests.api.served import Served, serving, short_root


class Printed(NamedTuple):
    """What a command line came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The JSON object at the end of the output, after the echoed request if there is one."""
        start = 0 if self.out.startswith("{\n") else self.out.index("\n") + 1
        found: dict[str, Any] = json.loads(self.out[start:])
        return found

    @property
    def echo(self) -> str:
        """The first line."""
        return self.out.partition("\n")[0]


Command = Callable[..., Printed]
COMMANDS = {"virtnet": virtnet.command, "mlxconfig": mlxconfig.command, "softdpu": softdpu.command}


@pytest.fixture
def served() -> Iterator[Served]:
    """A controller's interface on a real socket, under a root of its own."""
    with serving() as served:
        yield served


@pytest.fixture
def root() -> Iterator[Root]:
    """A root where no controller runs."""
    with short_root() as root:
        yield root


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[[Root, str], Printed]:
    """Runs a command line, ``run(root, "virtnet list")``, in this process."""

    def run(root: Root, line: str) -> Printed:
        name, *arguments = line.split()
        try:
            status = COMMANDS[name](["--root", str(root.path), *arguments])
        except SystemExit as end:
            status = int(str(end.code))
        out, err = capsys.readouterr()
        return Printed(status, out, err)

    return run
