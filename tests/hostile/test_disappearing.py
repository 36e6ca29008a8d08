"""VMMs that vanish, stall or turn on their own connection."""

import threading
import time

import pytest

from softdpu.testkit import BROADCAST, Client, Driver, LegacyDriver, ModernDriver, frame, wire
from softdpu.testkit.wire import Op, RegionIndex
from tests.dpu_under_test import Dpu, Plugged
from tests.hostile.conftest import Bystander
from tests.small_guest import SmallGuest

OUTSIDE = bytes.fromhex("02000000fffe")


@pytest.mark.parametrize("kind", [LegacyDriver, ModernDriver])
def test_killed_twenty_times_under_traffic(dpu: Dpu, device: Plugged, bystander: Bystander, kind: type[Driver]) -> None:
    """Frames pour in from the representor and from the neighbour; the neighbour's own never stop."""
    over = threading.Event()

    def pour() -> None:
        with dpu.representor(device) as outside:
            while not over.is_set():
                outside.send(frame(device.mac, OUTSIDE, b"pour"))
                time.sleep(0.0001)

    thread = threading.Thread(target=pour)
    thread.start()
    try:
        for _ in range(20):
            with SmallGuest(device, kind) as guest:
                guest.net.send(frame(BROADCAST, device.mac, b"I am here"))
                guest.net.receive()
                bystander.guest.net.send(frame(device.mac, bystander.guest.net.mac, b"to the dying"))
                guest.crash()
            assert bystander.passes_frames()
    finally:
        over.set()
        thread.join()


def test_gone_with_a_request_on_its_way(device: Plugged) -> None:
    access = wire.REGION_ACCESS.pack(region=RegionIndex.CONFIG, count=4)
    for _ in range(50):
        with Client(device.socket) as vmm:
            vmm.negotiate()
            for _ in range(5):
                vmm.send(Op.REGION_READ, access)
    with Client(device.socket) as successor:
        successor.negotiate()
        assert successor.read(RegionIndex.CONFIG, 0, 2) == b"\xf4\x1a"


def test_gone_with_a_command_on_the_control_queue(device: Plugged) -> None:
    for _ in range(20):
        with SmallGuest(device) as guest:
            ring = guest.net.rings[guest.net.control_queue]
            ring.write_descriptor(0, guest.memory.allocate(16), 16)
            for _ in range(10):
                ring.offer(0)
            ring.publish()
            guest.net.notify(guest.net.control_queue)
    with SmallGuest(device) as guest:
        assert guest.net.link_up


def test_silent_half_of_a_message(device: Plugged, bystander: Bystander) -> None:
    with Client(device.socket) as vmm:
        vmm.negotiate()
        vmm.send_bytes(wire.HEADER.pack(command=Op.REGION_READ, size=32))
        assert bystander.passes_frames()


def test_its_own_end_of_the_connection_as_a_descriptor(dpu: Dpu) -> None:
    """The device would hold the VMM's end itself, and never hear that the VMM has gone."""
    device = dpu.hotplug()
    with Client(device.socket) as vmm:
        vmm.negotiate()
        header = wire.HEADER.pack(command=Op.DMA_MAP, size=48)
        vmm.send_bytes(header[:8], [vmm.socket.fileno()])
    time.sleep(0.1)
    with Client(device.socket) as successor:
        successor.negotiate()
        assert successor.read(RegionIndex.CONFIG, 0, 2) == b"\xf4\x1a"
    dpu.unplug(device)


def test_connections_that_say_nothing(device: Plugged, bystander: Bystander) -> None:
    crowd = [Client(device.socket) for _ in range(50)]
    assert bystander.passes_frames()
    for client in crowd:
        client.close()
    time.sleep(0.05)
    with Client(device.socket) as successor:
        successor.negotiate()
