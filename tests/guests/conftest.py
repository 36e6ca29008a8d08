"""The DPU of the guests' tests: one of its own, since guests are attached to it as hosts."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from softdpu.lab import Guest
from tests.dpu_under_test import Dpu
from tests.guests.bench import Bench

Boot = Callable[..., Guest]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """A DPU that tests of a module share; each brings its own guests."""
    with Dpu() as dpu:
        yield Bench(dpu)


@pytest.fixture
def boot(bench: Bench) -> Iterator[Boot]:
    """Boots guests (arguments are `Guest`'s) and makes them hosts of the DPU; they are powered off after the test."""
    with ExitStack() as stack:

        def boot(kernel: str, **options: Any) -> Guest:
            guest = stack.enter_context(Guest(kernel, **options))
            bench.attach(guest)
            stack.callback(bench.detach, guest)
            return guest

        yield boot
