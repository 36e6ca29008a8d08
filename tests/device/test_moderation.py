"""Interrupts that the operator has held back, beside what the driver wants."""

import time

import pytest

from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.testkit import ALL_FEATURES, ModernDriver, frame
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest

ELSEWHERE = bytes.fromhex("02000000fffe")
LONG = 1_000_000  # µs: the longest
WANTED = ALL_FEATURES & ~f.mask_of(f.EVENT_IDX) | f.mask_of(f.NET_NOTF_COAL)


def moderate(dpu: Dpu, device: Plugged, *options: object) -> None:
    dpu.virtnet("modify", "-u", device.vuid, "queue", *options)


def held_back(dpu: Dpu, device: Plugged) -> set[tuple[str, str, str]]:
    """What the query shows of the queues that move frames."""
    names = ("rq_cq_max_count", "rq_cq_period", "rq_cq_period_mode")
    queues = dpu.query(device)["enabled-queues-info"][:2]
    return {tuple(queue[name] for name in names) for queue in queues}


def incoming(guest: SmallGuest, outside: Representor, count: int) -> int:
    """Interrupts of the receive queue that so many frames, all of them in the guest's memory, came to."""
    ring = guest.net.split(0)
    goal = ring.used_index + count & 0xFFFF
    for _ in range(count):
        outside.send(frame(guest.device.mac, ELSEWHERE))
    deadline = time.monotonic() + 5
    while ring.used_index != goal:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(0.02)  # one that should not come has had its chance
    assert guest.net.interrupts
    return guest.net.interrupts.fired(1)


@pytest.fixture
def fresh(dpu: Dpu) -> Plugged:
    """A device nobody has set anything of."""
    return dpu.hotplug()


def test_an_interrupt_waits_for_as_many_frames_as_the_operator_said(dpu: Dpu, fresh: Plugged) -> None:
    moderate(dpu, fresh, "-e", "cqe", "-n", LONG, "-c", 8)
    with SmallGuest(fresh, ModernDriver, wanted=WANTED) as guest, dpu.representor(fresh) as outside:
        assert held_back(dpu, fresh) == {("8", str(LONG), "1")}
        assert [incoming(guest, outside, 7), incoming(guest, outside, 1)] == [0, 1]
        moderate(dpu, fresh, "-c", 0)
        assert incoming(guest, outside, 1) == 1
    dpu.unplug(fresh)


def test_a_setting_made_under_a_driver_sends_what_is_due(dpu: Dpu, fresh: Plugged) -> None:
    with SmallGuest(fresh, ModernDriver, wanted=WANTED) as guest, dpu.representor(fresh) as outside:
        moderate(dpu, fresh, "-e", "cqe", "-n", LONG, "-c", 8)
        assert incoming(guest, outside, 5) == 0
        moderate(dpu, fresh, "-c", 5)
        assert guest.net.interrupts and guest.net.interrupts.fired(1) == 1
    dpu.unplug(fresh)


def test_a_drivers_command_comes_after_the_operator_and_a_reset_forgets_it(dpu: Dpu, fresh: Plugged) -> None:
    moderate(dpu, fresh, "-n", LONG, "-c", 8)
    with SmallGuest(fresh, ModernDriver, wanted=WANTED) as guest:
        for command in (n.CTRL_NOTF_COAL_RX_SET, n.CTRL_NOTF_COAL_TX_SET):
            assert guest.net.control(n.CTRL_NOTF_COAL, command, n.COAL.pack(3, 4)) == n.OK
        assert held_back(dpu, fresh) == {("3", "4", "0")}
    with SmallGuest(fresh, ModernDriver, wanted=WANTED):
        assert held_back(dpu, fresh) == {("8", str(LONG), "0")}
    dpu.unplug(fresh)


def test_settings_survive_the_controller(dpu: Dpu, fresh: Plugged) -> None:
    moderate(dpu, fresh, "-e", "cqe", "-n", 50, "-c", 8)
    dpu.virtnet("modify", "-u", fresh.vuid, "device", "-dim", "enable", "-r", 6)
    with SmallGuest(fresh, ModernDriver, wanted=WANTED):
        dpu.restart_controller()
        shown = dpu.query(fresh)
        assert (shown["dim"], shown["rx_mode"]) == ("enabled", "0x6")
        dpu.virtnet("modify", "-u", fresh.vuid, "device", "-dim", "disable")
        assert held_back(dpu, fresh) == {("8", "50", "1")}
    dpu.unplug(fresh)


def test_dynamic_moderation_holds_no_lone_frame_back(dpu: Dpu, fresh: Plugged) -> None:
    dpu.virtnet("modify", "-u", fresh.vuid, "device", "-dim", "enable")
    with SmallGuest(fresh, ModernDriver, wanted=WANTED) as guest, dpu.representor(fresh) as outside:
        assert [incoming(guest, outside, 1) for _ in range(3)] == [1, 1, 1]
    dpu.unplug(fresh)


def test_the_receive_mode_decides_what_comes_in(dpu: Dpu, fresh: Plugged) -> None:
    """Without a word from the driver all frames come in."""
    other = bytes.fromhex("020000000007")
    with SmallGuest(fresh, ModernDriver, wanted=WANTED) as guest, dpu.representor(fresh) as outside:
        dpu.virtnet("modify", "-u", fresh.vuid, "device", "-r", 0)
        outside.send(frame(other, ELSEWHERE))
        outside.send(frame(fresh.mac, ELSEWHERE, b"mine"))
        assert guest.net.receive(timeout=5.0)[:6] == fresh.mac
        dpu.virtnet("modify", "-u", fresh.vuid, "device", "-r", 1)
        outside.send(frame(other, ELSEWHERE))
        assert guest.net.receive(timeout=5.0)[:6] == other
    dpu.unplug(fresh)


def test_a_driver_that_is_asked_for_a_reset_may_do_so(dpu: Dpu, fresh: Plugged) -> None:
    with SmallGuest(fresh, ModernDriver, wanted=WANTED):
        dpu.virtnet("modify", "-u", fresh.vuid, "device", "-s", "0x40")
        assert "NEEDS_RESET" in dpu.query(fresh)["status"].values()
        assert dpu.faults(fresh) == []
    with SmallGuest(fresh, ModernDriver, wanted=WANTED):
        assert dpu.query(fresh)["status"]["value"] == "0xf"
        assert dpu.virtnet("modify", "-u", fresh.vuid, "device", "-s", 0, check=False).json["errno"] == 16
    dpu.unplug(fresh)
