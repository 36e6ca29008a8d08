"""The device status as a state machine (virtio 1.3 §2.1, §3.1)."""

import pytest

from softdpu.net.mistakes import DriverBound
from softdpu.spec import features as f
from softdpu.spec.virtio_pci import NEEDS_RESET
from softdpu.virtio.effects import RaiseConfig, Reset, StartQueue, StopQueue
from softdpu.virtio.status import LADDER, legal
from tests.virtio.drivers import Legacy, Modern, make, of_type


@pytest.mark.parametrize(("here", "there"), [(a, b) for i, a in enumerate(LADDER) for b in LADDER[i:]])
def test_modern_driver_climbs(here: int, there: int) -> None:
    """§3.1.1: ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK, in this order."""
    assert legal("modern", here, there)


@pytest.mark.parametrize(("here", "there"), [(3, 1), (11, 3), (15, 11), (15, 7), (3, 7), (0, 4), (0, 7)])
def test_modern_driver_neither_clears_a_bit_nor_runs_without_features(here: int, there: int) -> None:
    """§2.1.1: the driver must not clear a bit; §3.1.1: FEATURES_OK comes before DRIVER_OK."""
    assert not legal("modern", here, there)


@pytest.mark.parametrize(("here", "there"), [(0, 2), (0, 8), (8, 12), (1, 9), (9, 13), (2, 10), (8, 15)])
def test_modern_driver_that_leaves_out_the_first_steps_is_served(here: int, there: int) -> None:
    """iPXE sets ACKNOWLEDGE and DRIVER as it finds a device; opened a second time, it begins with FEATURES_OK."""
    assert legal("modern", here, there)


@pytest.mark.parametrize("mode", ["modern", "legacy"])
def test_failed_may_be_set_at_any_point_and_stays(mode: str) -> None:
    """§2.1.1: after FAILED the driver must reset the device."""
    for status in (0, 1, 3):
        assert legal(mode, status, status | 128)  # type: ignore[arg-type]
        assert legal(mode, status | 128, status | 128)  # type: ignore[arg-type]
        assert not legal(mode, status | 128, status)  # type: ignore[arg-type]


@pytest.mark.parametrize(("here", "there"), [(0, 1), (0, 2), (0, 6), (3, 6), (1, 3), (3, 7), (0, 7), (7, 7), (7, 3)])
def test_legacy_driver_sets_bits_in_any_order(here: int, there: int) -> None:
    """§3.1.2; iPXE writes 3 and then 6, without ACKNOWLEDGE."""
    assert legal("legacy", here, there)


@pytest.mark.parametrize(("here", "there"), [(7, 1), (3, 1), (6, 4)])
def test_legacy_driver_does_not_take_back_driver_bits(here: int, there: int) -> None:
    assert not legal("legacy", here, there)


def test_ipxe_opens_the_device_again() -> None:
    """After its reset, which dropped ACKNOWLEDGE and DRIVER: the queues run, and the operator's hands are tied."""
    function = make()
    modern = Modern(function)
    modern.accept(f.mask_of(f.VERSION_1, f.NET_MAC, f.NET_MTU))
    modern.write("device_status", 8)
    modern.set_up(0)
    assert of_type(modern.write("device_status", 12), StartQueue)[0].queue == 0
    assert modern.read("device_status") == 12
    with pytest.raises(DriverBound):
        function.set_mtu(1400)


def test_legacy_driver_takes_driver_ok_back_and_gives_it_again() -> None:
    """NetKVM does the first before it resets: its buffers are its own then, and what was used stays used."""
    function = make()
    legacy = Legacy(function)
    legacy.bring_up()
    assert of_type(legacy.write("device_status", 3), StopQueue) == [StopQueue(0), StopQueue(1), StopQueue(2)]
    assert legacy.read("device_status") == 3
    assert not of_type(legacy.write("driver_features", 0), StartQueue)
    starts = of_type(legacy.write("device_status", 7), StartQueue)
    assert [(start.queue, start.resume) for start in starts] == [(0, True), (1, True), (2, True)]


def test_illegal_step_needs_reset_and_leaves_the_status() -> None:
    """§2.1.2: the device asks for a reset when it is in an error from which it cannot recover."""
    modern = Modern(make())
    modern.write("device_status", 1)
    effects = modern.write("device_status", 4)
    assert modern.read("device_status") == 1 | NEEDS_RESET
    assert not effects.items
    assert effects.log[0].text == "status 0x1 → 0x4 is not a legal step"


def test_needs_reset_interrupts_a_running_driver_once() -> None:
    """§2.1.2: if DRIVER_OK is set, a configuration change notification follows."""
    modern = Modern(make())
    modern.bring_up()
    assert modern.write("device_status", 3).items == (RaiseConfig(),)
    assert modern.write("device_status", 3).items == ()
    assert modern.read("device_status") == 15 | NEEDS_RESET


def test_driver_writes_back_needs_reset_without_harm() -> None:
    """Drivers set a bit in what they read: the device's own bit is not theirs to change."""
    function = make()
    modern = Modern(function)
    modern.bring_up()
    function.queue_fault(0, "a loop of descriptors")
    modern.write("device_status", modern.read("device_status") | 128)
    assert modern.read("device_status") == 15 | 64 | 128


@pytest.mark.parametrize("bits", [16, 32])
def test_bits_that_mean_nothing_here_are_ignored(bits: int) -> None:
    """§3.4.2: SUSPEND is ignored where it was not negotiated."""
    modern = Modern(make())
    modern.write("device_status", 1 | bits)
    assert modern.read("device_status") == 1


def test_zero_resets_through_either_interface() -> None:
    """§4.1.4.3.1: the device presents 0 once it is reset."""
    function = make()
    modern, legacy = Modern(function), Legacy(function)
    modern.bring_up()
    assert of_type(legacy.write("device_status", 0), Reset) == [Reset()]
    assert modern.read("device_status") == legacy.read("device_status") == 0


def test_legacy_driver_has_no_features_ok() -> None:
    """§3.1.2."""
    legacy = Legacy(make())
    legacy.write("device_status", 1 | 2 | 8)
    assert legacy.read("device_status") == 3
