"""Who is served: one VMM a function at a time, and the next one when it has gone."""

import errno
import time

import pytest

from softdpu.testkit import BROADCAST, Client, Disconnected, LegacyDriver, RequestFailed, frame
from softdpu.testkit.wire import RegionIndex
from tests.dpu_under_test import Dpu, Plugged
from tests.small_guest import SmallGuest

BAR0, STATUS = RegionIndex.BAR0, 0x12


def test_second_vmm_is_turned_away(vmm: Client, device: Plugged) -> None:
    """With an answer: QEMU aborts when its VERSION is not answered at all."""
    with Client(device.socket) as second:
        with pytest.raises(RequestFailed) as refusal:
            second.negotiate()
        assert refusal.value.errno == errno.EBUSY
        with pytest.raises(Disconnected):
            second.negotiate()
    assert vmm.read(RegionIndex.CONFIG, 0, 2) == b"\xf4\x1a"


def test_one_that_says_nothing_gives_way_to_one_that_does(device: Plugged) -> None:
    with Client(device.socket) as silent, Client(device.socket) as probe, Client(device.socket) as speaker:
        speaker.negotiate()
        assert speaker.read(RegionIndex.CONFIG, 0, 2) == b"\xf4\x1a"
        assert silent.disconnected()
        assert probe.disconnected()


def test_a_crowd_that_says_nothing(dpu: Dpu, device: Plugged) -> None:
    before = dpu.fds()
    crowd = [Client(device.socket) for _ in range(200)]
    with Client(device.socket) as vmm:
        vmm.negotiate()
        assert vmm.read(RegionIndex.CONFIG, 0, 2) == b"\xf4\x1a"
        assert dpu.fds() <= before + 3
    for client in crowd:
        client.close()


def test_next_vmm_finds_a_fresh_function(device: Plugged) -> None:
    with Client(device.socket) as first:
        first.negotiate()
        first.write(BAR0, STATUS, b"\3")
        assert first.read(BAR0, STATUS, 1) == b"\3"
    with Client(device.socket) as second:
        second.negotiate()
        assert second.read(BAR0, STATUS, 1) == b"\0"


@pytest.mark.usefixtures("no_leak")
def test_vmm_killed_with_a_running_driver_leaves_nothing(dpu: Dpu, device: Plugged) -> None:
    for _ in range(3):
        with SmallGuest(device, LegacyDriver) as guest:
            guest.net.send(frame(BROADCAST, guest.net.mac))


def test_query_shows_that_the_driver_has_gone(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device, LegacyDriver):
        assert dpu.query(device)["status"]["value"] == "0x7"
    deadline = time.monotonic() + 2
    while dpu.query(device)["status"]["value"] != "0x0":
        assert time.monotonic() < deadline


def test_two_hundred_vmms_in_a_row(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device):
        pass
    fds, mappings, memory = dpu.fds(), dpu.mappings(), dpu.resident()
    for _ in range(200):
        with Client(device.socket) as vmm:
            vmm.negotiate()
            vmm.write(BAR0, STATUS, b"\1")
    assert dpu.fds() <= fds + 1
    assert dpu.mappings() <= mappings
    assert dpu.resident() - memory < 1 << 20
