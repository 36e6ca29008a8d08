"""The controller is killed with SIGKILL: guests notice a pause of register accesses, and nothing else."""

import errno
import threading
import time

import pytest

from softdpu.spec import virtio_net as net
from softdpu.testkit import BROADCAST, Client, Driver, LegacyDriver, ModernDriver, RequestFailed, frame
from softdpu.testkit.wire import REGION_ACCESS, Op, RegionIndex
from tests.dpu_under_test import Dpu
from tests.small_guest import SmallGuest

DRIVERS = [LegacyDriver, ModernDriver]
OUTSIDE = bytes.fromhex("02000000fffe")


def numbered(source: bytes, number: int) -> bytes:
    return frame(OUTSIDE, source, b"number %06d" % number)


def test_frames_pass_while_there_is_no_controller(own_dpu: Dpu) -> None:
    device = own_dpu.hotplug()
    with SmallGuest(device) as guest, own_dpu.representor(device) as outside:
        mac = guest.net.mac
        own_dpu.kill_controller()
        for number in range(100):
            guest.net.send(numbered(mac, number))
            assert outside.receive() == numbered(mac, number)
            outside.send(numbered(mac, number))
            assert guest.net.receive() == numbered(mac, number)


@pytest.mark.parametrize("kind", DRIVERS)
def test_no_frame_is_lost_in_a_restart(own_dpu: Dpu, kind: type[Driver]) -> None:
    device = own_dpu.hotplug()
    with SmallGuest(device, kind) as guest, own_dpu.representor(device) as outside:
        mac, datapath = guest.net.mac, own_dpu.datapath_pid
        restart = threading.Thread(target=own_dpu.restart_controller)
        restart.start()
        number = 0
        while restart.is_alive():
            guest.net.send(numbered(mac, number))
            assert outside.receive() == numbered(mac, number)
            number += 1
        restart.join()
        assert number > 10
        assert own_dpu.datapath_pid == datapath
        assert guest.net.mac == mac
        assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\1") == net.OK


def test_register_access_waits_for_the_next_controller(own_dpu: Dpu) -> None:
    device = own_dpu.hotplug()
    with SmallGuest(device, LegacyDriver) as guest:
        own_dpu.kill_controller()
        access = REGION_ACCESS.pack(region=RegionIndex.CONFIG, count=4)
        sent = guest.vmm.send(Op.REGION_READ, access)
        time.sleep(0.1)
        own_dpu.start_controller()
        assert guest.vmm.reply_to(Op.REGION_READ, sent).payload[-4:] == b"\xf4\x1a\x00\x10"


@pytest.mark.parametrize("kind", DRIVERS)
def test_driver_is_where_it_was(own_dpu: Dpu, kind: type[Driver]) -> None:
    device = own_dpu.hotplug()
    with SmallGuest(device, kind) as guest:
        before = own_dpu.query(device)
        own_dpu.restart_controller()
        after = own_dpu.query(device)
        for key in ("status", "driver_features", "mac", "transitional", "enabled_queues", "sf_rep_net_device"):
            assert after[key] == before[key]
        assert guest.net.status == int(before["status"]["value"], 16)


def test_control_command_waits_for_the_next_controller(own_dpu: Dpu) -> None:
    device = own_dpu.hotplug()
    with SmallGuest(device) as guest:
        own_dpu.kill_controller()
        restart = threading.Timer(0.2, own_dpu.start_controller)
        restart.start()
        assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\1", timeout=20) == net.OK
        restart.join()


def test_vmm_that_left_meanwhile_is_noticed(own_dpu: Dpu) -> None:
    device = own_dpu.hotplug()
    with SmallGuest(device):
        own_dpu.kill_controller()
    own_dpu.start_controller()
    deadline = time.monotonic() + 2
    while own_dpu.query(device)["status"]["value"] != "0x0":
        assert time.monotonic() < deadline
    with SmallGuest(device) as guest:
        assert guest.net.link_up


def test_vmm_that_came_meanwhile_is_served(own_dpu: Dpu) -> None:
    device = own_dpu.hotplug()
    own_dpu.kill_controller()
    restart = threading.Timer(0.2, own_dpu.start_controller)
    restart.start()
    with Client(device.socket, timeout=20) as vmm:
        vmm.negotiate()
        assert vmm.read(RegionIndex.CONFIG, 0, 2) == b"\xf4\x1a"
    restart.join()


def test_killed_twenty_times_amid_frames_and_register_accesses(own_dpu: Dpu) -> None:
    """Every access is answered once, in order, with the value written last; and every frame of a neighbour arrives."""
    device, busy = own_dpu.hotplug(), own_dpu.hotplug()
    with Client(device.socket, timeout=20) as vmm, SmallGuest(busy) as guest, own_dpu.representor(busy) as outside:
        vmm.negotiate()
        done, frames = threading.Event(), threading.Thread(target=lambda: passed.append(pass_frames()))
        passed: list[int] = []

        def pass_frames() -> int:
            number = 0
            while not done.is_set():
                number += 1
                guest.net.send(numbered(busy.mac, number))
                assert outside.receive() == numbered(busy.mac, number)
                outside.send(numbered(busy.mac, number))
                assert guest.net.receive() == numbered(busy.mac, number)
            return number

        def restarts() -> None:
            for _ in range(20):
                own_dpu.restart_controller()
            done.set()

        restart = threading.Thread(target=restarts)
        restart.start()
        frames.start()
        value = 0
        while not done.is_set():
            value = (value + 1) & 0xFFFF
            vmm.write(RegionIndex.BAR0, 0x0E, value.to_bytes(2, "little"))
            assert vmm.read(RegionIndex.BAR0, 0x0E, 2) == value.to_bytes(2, "little")
        restart.join()
        frames.join()
        assert value > 100
        assert passed
        assert passed[0] > 100, "the thread came to its end, so no frame was lost"


def test_device_can_be_unplugged_after_a_restart(own_dpu: Dpu) -> None:
    device = own_dpu.hotplug()
    own_dpu.restart_controller()
    own_dpu.unplug(device)
    assert not device.socket.exists()
    assert device.representor not in own_dpu.ip("link")


def test_broadcast_reaches_both_neighbours_after_a_restart(own_dpu: Dpu) -> None:
    first, second = own_dpu.hotplug(), own_dpu.hotplug()
    with SmallGuest(first) as one, SmallGuest(second) as two:
        own_dpu.restart_controller()
        one.net.send(frame(BROADCAST, one.net.mac, b"to all"))
        assert b"to all" in two.net.receive()


def test_access_without_a_controller_fails_in_time_and_the_connection_lives_on(own_dpu: Dpu) -> None:
    """QEMU waits 5 s for an answer, and a later one would break its connection for good."""
    device = own_dpu.hotplug()
    with Client(device.socket, timeout=20) as vmm:
        vmm.negotiate()
        own_dpu.kill_controller()
        with pytest.raises(RequestFailed) as failure:
            vmm.read(RegionIndex.CONFIG, 0, 2)
        assert failure.value.errno == errno.ETIMEDOUT
        own_dpu.start_controller()
        assert vmm.read(RegionIndex.CONFIG, 0, 2) == b"\xf4\x1a"


def test_reset_without_a_controller_is_done_and_the_registers_follow(own_dpu: Dpu) -> None:
    device = own_dpu.hotplug()
    with Client(device.socket, timeout=20) as vmm:
        vmm.negotiate()
        vmm.write(RegionIndex.BAR0, 0x12, b"\3")
        own_dpu.kill_controller()
        vmm.reset()
        own_dpu.start_controller()
        assert vmm.read(RegionIndex.BAR0, 0x12, 1) == b"\0"
