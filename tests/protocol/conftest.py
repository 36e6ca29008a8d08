"""Protocol tests need a fresh connection each, which finds a fresh function: one device a file is enough."""

import time
from collections.abc import Iterator

import pytest

from tests.dpu_under_test import Dpu, Plugged


@pytest.fixture(scope="module")
def device(dpu: Dpu) -> Iterator[Plugged]:
    """A transitional device for the tests of one file."""
    device = dpu.hotplug()
    yield device
    dpu.unplug(device)


@pytest.fixture
def no_leak(dpu: Dpu) -> Iterator[None]:
    """The datapath has as many descriptors and mappings after the test as before it."""
    fds, mappings = dpu.fds(), dpu.mappings()
    yield
    deadline = time.monotonic() + 2
    while (dpu.fds() > fds or dpu.mappings() > mappings) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert dpu.fds() <= fds
    assert dpu.mappings() <= mappings
