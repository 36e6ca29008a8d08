"""Two hundred guests, drivers and devices after each other, with frames in each: nothing is left, nothing wears out."""

import pytest

from softdpu.testkit import Driver, LegacyDriver, ModernDriver, frame
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

ELSEWHERE = bytes.fromhex("02000000fffe")
DRIVERS = [LegacyDriver, ModernDriver]
SLACK = 1 << 20  # bytes of memory that an allocator may hold back


class Held:
    """What the datapath holds now."""

    def __init__(self, dpu: Dpu) -> None:
        self.fds, self.mappings, self.resident = dpu.fds(), dpu.mappings(), dpu.resident()

    def has_not_grown_since(self, before: "Held") -> bool:
        """No descriptor and no mapping more; memory within what an allocator holds back."""
        few = self.fds <= before.fds and self.mappings <= before.mappings
        return few and self.resident <= before.resident + SLACK


def exchange(guest: SmallGuest, outside: Representor, mark: bytes) -> None:
    sent, back = frame(ELSEWHERE, guest.device.mac, mark), frame(guest.device.mac, ELSEWHERE, mark)
    guest.net.send(sent)
    assert outside.receive() == sent
    outside.send(back)
    assert guest.net.receive() == back


@pytest.mark.parametrize("kind", DRIVERS)
def test_two_hundred_guests(dpu: Dpu, device: Plugged, outside: Representor, kind: type[Driver]) -> None:
    for cycle in range(201):
        with SmallGuest(device, kind, memory=1 << 20, buffers=16) as guest:
            exchange(guest, outside, b"%d" % cycle)
            if cycle == 0:
                before = Held(dpu)
            after = Held(dpu)
    assert after.has_not_grown_since(before)


@pytest.mark.parametrize("kind", DRIVERS)
def test_two_hundred_times_unbound_and_bound(
    dpu: Dpu, device: Plugged, outside: Representor, kind: type[Driver]
) -> None:
    with SmallGuest(device, kind, buffers=16) as guest:
        before = Held(dpu)
        for cycle in range(200):
            guest.net.stop()
            guest.net.start()
            exchange(guest, outside, b"%d" % cycle)
        assert Held(dpu).has_not_grown_since(before)


def test_fifty_devices_plugged_and_unplugged(dpu: Dpu) -> None:
    dpu.unplug(dpu.hotplug())
    before = Held(dpu)
    for cycle in range(50):
        device = dpu.hotplug()
        with SmallGuest(device, memory=1 << 20, buffers=16) as guest, dpu.representor(device) as outside:
            exchange(guest, outside, b"%d" % cycle)
        dpu.unplug(device)
    assert Held(dpu).has_not_grown_since(before)


def test_unplugged_while_its_guest_runs(dpu: Dpu) -> None:
    device = dpu.hotplug()
    with SmallGuest(device) as guest:
        dpu.unplug(device)
        assert guest.vmm.disconnected()
