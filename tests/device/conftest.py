"""A guest with each driver and each kind of interrupt, on a device that the tests of a file share."""

from collections.abc import Iterator

import pytest

from softdpu.testkit import LegacyDriver, ModernDriver
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

KINDS = [(kind, mode) for kind in (LegacyDriver, ModernDriver) for mode in ("msix", "intx", "none")]


@pytest.fixture(scope="module")
def device(dpu: Dpu) -> Iterator[Plugged]:
    """A transitional device."""
    device = dpu.hotplug()
    yield device
    dpu.unplug(device)


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0].__name__}-{kind[1]}")
def guest(request: pytest.FixtureRequest, device: Plugged) -> Iterator[SmallGuest]:
    """A guest whose driver runs."""
    kind, mode = request.param
    with SmallGuest(device, kind, interrupts=mode) as guest:
        yield guest


@pytest.fixture
def outside(dpu: Dpu, device: Plugged) -> Iterator[Representor]:
    """The DPU's end of the device."""
    with dpu.representor(device) as outside:
        yield outside
