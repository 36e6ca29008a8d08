"""Every hostile test has a bystander: another guest on the same DPU, whose frames must pass before and after.

The datapath must also be the same process afterwards.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from softdpu.testkit import ModernDriver, frame
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

OUTSIDE = bytes.fromhex("02000000fffe")


class Bystander:
    """A guest that does nothing wrong."""

    def __init__(self, guest: SmallGuest, representor: Representor) -> None:
        self.guest = guest
        self.representor = representor
        self._numbers = itertools.count()

    def passes_frames(self) -> bool:
        """Whether a frame goes out and another comes in, within a second each."""
        mark = b"bystander %d" % next(self._numbers)
        self.guest.net.send(frame(OUTSIDE, self.guest.net.mac, mark))
        self.representor.send(frame(self.guest.net.mac, OUTSIDE, mark))
        return self._until(mark, self.representor.receive) and self._until(mark, self.guest.net.receive)

    @staticmethod
    def _until(mark: bytes, receive: Callable[[float], bytes]) -> bool:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            if mark in receive(1.0):
                return True
        return False


@pytest.fixture(scope="package")
def bystander(dpu: Dpu) -> Iterator[Bystander]:
    """A guest on a device of its own, for all hostile tests."""
    device = dpu.hotplug()
    with SmallGuest(device, ModernDriver) as guest, dpu.representor(device) as representor:
        yield Bystander(guest, representor)
    dpu.unplug(device)


@pytest.fixture(autouse=True)
def harmless(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the test the datapath is the same process, and the bystander passes frames."""
    if "own_dpu" in request.fixturenames:
        yield
        return
    dpu: Dpu = request.getfixturevalue("dpu")
    bystander: Bystander = request.getfixturevalue("bystander")
    assert bystander.passes_frames()
    before = dpu.datapath_pid
    yield
    assert Path(f"/proc/{before}/exe").exists(), "the datapath died"
    assert bystander.passes_frames()


@pytest.fixture(scope="module")
def device(dpu: Dpu) -> Iterator[Plugged]:
    """The device that the hostile guest has, one a file."""
    device = dpu.hotplug()
    yield device
    dpu.unplug(device)


@pytest.fixture
def guest(device: Plugged) -> Iterator[SmallGuest]:
    """A guest with a running modern driver, about to turn hostile."""
    with SmallGuest(device, ModernDriver) as guest:
        yield guest


def broken(dpu: Dpu, guest: SmallGuest, timeout: float = 2.0) -> str:
    """Wait until the device has given up on the driver; the cause as the operator is told it."""
    deadline = time.monotonic() + timeout
    while not guest.net.needs_reset:
        assert time.monotonic() < deadline, "the device does not show NEEDS_RESET"
    guest.net.wait_config_change(timeout)
    return dpu.faults(guest.device)[-1]


def misplace(guest: SmallGuest, queue: int, part: str, address: int) -> None:
    """Start a queue anew, with one part of its ring at an address of its own, and ring its doorbell."""
    net = guest.net
    assert isinstance(net, ModernDriver)
    former = net.rings[queue]
    net.reset_queue(queue)
    net.rings[queue] = former  # whose position the doorbell tells, with NOTIFICATION_DATA
    net.set("queue_select", queue)
    for name in ("queue_desc", "queue_driver", "queue_device"):
        net.set(name, address if name == part else guest.memory.allocate(8192, 4096))
    net.set("queue_enable", 1)
    net.notify(queue)
