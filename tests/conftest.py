"""Fixtures for tests against the real thing: a DPU, its devices, VMMs on them."""

import os
from collections.abc import Iterator

import pytest

from softdpu.testkit import Client, GuestMemory
from tests.dpu_under_test import Dpu, Plugged
from tests.leftovers import sweep


@pytest.fixture(scope="session")
def dpu() -> Iterator[Dpu]:
    """A running DPU, shared by the tests of a session: each plugs devices of its own."""
    _needs_root()
    sweep()
    with Dpu() as dpu:
        yield dpu
        assert dpu.own_mistakes() == []


@pytest.fixture
def own_dpu() -> Iterator[Dpu]:
    """A DPU for one test, which may kill its parts."""
    _needs_root()
    with Dpu() as dpu:
        yield dpu
        assert dpu.own_mistakes() == []


def _needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("makes network namespaces and taps, which takes root")


@pytest.fixture
def device(dpu: Dpu) -> Iterator[Plugged]:
    """A transitional device, unplugged afterwards."""
    device = dpu.hotplug()
    yield device
    dpu.unplug(device)


@pytest.fixture
def neighbour(dpu: Dpu) -> Iterator[Plugged]:
    """A second device on the same DPU."""
    device = dpu.hotplug()
    yield device
    dpu.unplug(device)


@pytest.fixture
def vmm(device: Plugged) -> Iterator[Client]:
    """A VMM that has agreed on a version with the device."""
    with Client(device.socket) as client:
        client.negotiate()
        yield client


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    """Guest memory that no device knows yet."""
    with GuestMemory() as memory:
        yield memory
