"""VFIO_USER_DEVICE_RESET: power-on and reboot of the guest."""

import pytest

from softdpu.testkit import BROADCAST, Client, Driver, LegacyDriver, ModernDriver, frame
from tests.dpu_under_test import Dpu, Plugged
from tests.small_guest import SmallGuest

DRIVERS = [LegacyDriver, ModernDriver]


def test_reset_of_an_idle_function(vmm: Client) -> None:
    vmm.reset()
    vmm.reset()


@pytest.mark.parametrize("kind", DRIVERS)
def test_status_and_msix_are_cleared(device: Plugged, kind: type[Driver]) -> None:
    with SmallGuest(device, kind) as guest:
        guest.vmm.reset()
        assert guest.net.status == 0
        capability = guest.net.card.capability(0x11)
        assert capability
        assert guest.net.card.config(capability.offset + 2, 2) & 0xC000 == 0


@pytest.mark.parametrize("kind", DRIVERS)
def test_queues_are_stopped_before_the_reply(dpu: Dpu, device: Plugged, kind: type[Driver]) -> None:
    with SmallGuest(device, kind) as guest, dpu.representor(device) as outside:
        ring = guest.net.split(0)
        guest.vmm.reset()
        outside.send(frame(BROADCAST, bytes(6)))
        assert outside.drain(0.05) == []
        assert ring.used_index == 0


@pytest.mark.parametrize("kind", DRIVERS)
def test_memory_stays_mapped(dpu: Dpu, device: Plugged, kind: type[Driver]) -> None:
    with SmallGuest(device, kind) as guest, dpu.representor(device) as outside:
        for _ in range(3):
            guest.vmm.reset()
            guest.net.msix_on = False
            guest.net.interrupts = None
            guest.net.reset()
            guest.net.start()
            guest.net.send(frame(BROADCAST, guest.net.mac, b"after reset"))
            assert b"after reset" in outside.receive()


def test_body_is_not_needed_and_not_minded(vmm: Client) -> None:
    assert vmm.request(13, b"").payload == b""
