"""A datapath with functions behind vhost-user, and front ends to it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.vhost import USUAL, FrontEnd
from softdpu.testkit.vhost_driver import VhostDriver
from tests.vhost.back_ends import Datapath

Plug: TypeAlias = Callable[..., VhostDriver]


@pytest.fixture
def datapath(tmp_path: Path) -> Iterator[Datapath]:
    with Datapath(tmp_path) as process:
        yield process


@pytest.fixture
def front(datapath: Datapath) -> Iterator[FrontEnd]:
    """A front end that has negotiated, to a function with two pairs of rings."""
    with FrontEnd(datapath.serve(0, queues=5)) as front:
        front.negotiate()
        yield front


@pytest.fixture
def plug(datapath: Datapath) -> Iterator[Plug]:
    """Makes a function and starts a driver on it."""
    with ExitStack() as stack:

        def plug(number: int, *, protocol: int = USUAL, queues: int = 3, **options: Any) -> VhostDriver:
            front = stack.enter_context(FrontEnd(datapath.serve(number, queues=queues)))
            front.negotiate(protocol)
            memory = stack.enter_context(GuestMemory())
            memory.map_into(front)
            return stack.enter_context(VhostDriver(front, memory, **options)).start()

        yield plug
