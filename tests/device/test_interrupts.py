"""When the driver is interrupted, and when it is not."""

import time
from collections.abc import Iterator

import pytest

from softdpu.spec import features as f
from softdpu.testkit import ALL_FEATURES, Driver, Interrupts, LegacyDriver, ModernDriver, frame
from softdpu.testkit.wire import Irq
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

ELSEWHERE = bytes.fromhex("02000000fffe")
DRIVERS = [LegacyDriver, ModernDriver]
WITHOUT_EVENT_INDEX = ALL_FEATURES & ~f.mask_of(f.EVENT_IDX)
RX = 0


def incoming(guest: SmallGuest, outside: Representor, count: int = 1) -> None:
    """Frames come, and have arrived in the guest's memory."""
    ring = guest.net.split(RX)
    goal = ring.used_index + count & 0xFFFF
    for _ in range(count):
        outside.send(frame(guest.device.mac, ELSEWHERE))
    deadline = time.monotonic() + 2
    while ring.used_index != goal:
        assert time.monotonic() < deadline
    time.sleep(0.02)  # an interrupt that should not come has had its chance


@pytest.fixture(params=DRIVERS, ids=lambda kind: kind.__name__)
def msix(request: pytest.FixtureRequest, device: Plugged) -> Iterator[SmallGuest]:
    """A guest with MSI-X."""
    with SmallGuest(device, request.param) as guest:
        yield guest


@pytest.fixture(params=DRIVERS, ids=lambda kind: kind.__name__)
def intx(request: pytest.FixtureRequest, device: Plugged) -> Iterator[SmallGuest]:
    """A guest with INTx, which asks for every interrupt."""
    with SmallGuest(device, request.param, interrupts="intx", wanted=WITHOUT_EVENT_INDEX) as guest:
        yield guest


def lines(guest: SmallGuest) -> Interrupts:
    assert guest.net.interrupts
    return guest.net.interrupts


def test_each_queue_fires_its_own_vector(msix: SmallGuest, outside: Representor) -> None:
    incoming(msix, outside)
    assert [lines(msix).fired(vector) for vector in range(4)] == [0, 1, 0, 0]


def test_no_interrupt_while_the_driver_wants_none(device: Plugged, outside: Representor) -> None:
    """virtio 1.3 §2.7.7: VIRTQ_AVAIL_F_NO_INTERRUPT."""
    with SmallGuest(device, ModernDriver, wanted=WITHOUT_EVENT_INDEX) as guest:
        guest.net.rings[RX].want_interrupt(False)
        incoming(guest, outside, 10)
        assert lines(guest).fired(1) == 0
        guest.net.rings[RX].want_interrupt(True)
        incoming(guest, outside)
        assert lines(guest).fired(1) == 1


def test_event_index_is_honoured(device: Plugged, outside: Representor) -> None:
    """virtio 1.3 §2.7.7.2: an interrupt when the used index passes used_event, and none before or after."""
    with SmallGuest(device, ModernDriver) as guest:
        ring = guest.net.split(RX)
        guest.memory.store16(ring.driver + 4 + 2 * ring.size, 4)
        fired = []
        for _ in range(8):
            incoming(guest, outside)
            fired.append(lines(guest).fired(1))
        assert fired == [0, 0, 0, 0, 1, 0, 0, 0]


def test_queue_without_vector_does_not_interrupt(device: Plugged, outside: Representor) -> None:
    with SmallGuest(device, ModernDriver) as guest:
        guest.net.set("queue_select", RX)
        guest.net.set("queue_msix_vector", 0xFFFF)
        incoming(guest, outside)
        assert [lines(guest).fired(vector) for vector in range(4)] == [0, 0, 0, 0]


def test_two_queues_may_share_a_vector(device: Plugged, outside: Representor) -> None:
    with SmallGuest(device, ModernDriver) as guest:
        guest.net.set("queue_select", RX)
        guest.net.set("queue_msix_vector", 2)
        incoming(guest, outside)
        assert [lines(guest).fired(vector) for vector in range(4)] == [0, 0, 1, 0]


def test_vector_without_eventfd_is_pending_until_it_has_one(msix: SmallGuest, outside: Representor) -> None:
    """PCI 3.0 §6.8.2.10"""
    msix.vmm.disable_irqs(Irq.MSIX)
    incoming(msix, outside)
    assert msix.net.card.pending() == {1}
    msix.vmm.assign_irqs(Irq.MSIX, lines(msix).fds)
    assert lines(msix).wait(1, 1) == 1
    assert msix.net.card.pending() == set()


def test_msix_does_not_touch_the_isr(msix: SmallGuest, outside: Representor) -> None:
    incoming(msix, outside)
    assert msix.net.read_isr() == 0


def test_intx_fires_once_until_it_is_unmasked(intx: SmallGuest, outside: Representor) -> None:
    incoming(intx, outside, 5)
    assert lines(intx).fired() == 1
    assert intx.net.read_isr() == 1
    lines(intx).unmask()
    assert lines(intx).fired() == 0
    incoming(intx, outside)
    assert lines(intx).fired() == 1


def test_intx_fires_again_when_unmasked_with_the_isr_unread(intx: SmallGuest, outside: Representor) -> None:
    """INTx is a level: it stays while the ISR is not read."""
    incoming(intx, outside)
    assert lines(intx).fired() == 1
    lines(intx).unmask()
    assert lines(intx).fired() == 1


def test_reading_the_isr_clears_it(intx: SmallGuest, outside: Representor) -> None:
    incoming(intx, outside)
    assert intx.net.read_isr() == 1
    assert intx.net.read_isr() == 0


def test_intx_is_silent_while_disabled_in_the_command_register(intx: SmallGuest, outside: Representor) -> None:
    intx.net.card.enable(intx=False)
    incoming(intx, outside)
    assert lines(intx).fired() == 0
    intx.net.card.enable(intx=True)
    assert lines(intx).wait(timeout=1) == 1


def test_status_register_of_pci_shows_intx(intx: SmallGuest, outside: Representor) -> None:
    incoming(intx, outside)
    assert intx.net.card.header("status") & 8
    intx.net.read_isr()
    assert not intx.net.card.header("status") & 8


@pytest.mark.parametrize("mode", ["msix", "intx"])
@pytest.mark.parametrize("kind", DRIVERS)
def test_link_change_interrupts_as_configuration(dpu: Dpu, device: Plugged, kind: type[Driver], mode: str) -> None:
    with SmallGuest(device, kind, interrupts=mode) as guest:
        for up in (0, 1):
            dpu.modify(device, link=up)
            guest.net.wait_config_change(2)
            assert guest.net.link_up is bool(up)


def test_device_without_msix_has_intx_alone(dpu: Dpu) -> None:
    device = dpu.hotplug(vectors=0)
    with SmallGuest(device, LegacyDriver, interrupts="intx") as guest, dpu.representor(device) as outside:
        assert guest.net.card.vectors == 0
        outside.send(frame(guest.net.mac, ELSEWHERE, b"by line"))
        assert b"by line" in guest.net.receive()
    dpu.unplug(device)
