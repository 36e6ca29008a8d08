"""A device behind vhost-user while processes come and go: rings go on where they stood, connections come again."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from softdpu.controller.errors import OperatorError
from softdpu.lab import Lab
from softdpu.spec import features as f
from softdpu.testkit import frame
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.vhost import FrontEnd
from softdpu.testkit.vhost_driver import FRESH_PACKED, VhostDriver
from tests.dpu_under_test import Dpu, Plugged

OUTSIDE = bytes.fromhex("02000000fffe")
SPLIT = f.mask_of(f.VERSION_1, f.NET_MRG_RXBUF)
PACKED = SPLIT | f.mask_of(f.RING_PACKED)
BEGINNINGS = {"split": (SPLIT, 0), "packed": (PACKED, FRESH_PACKED)}
PATIENCE = 20.0  # seconds


@pytest.fixture
def dpu() -> Iterator[Dpu]:
    with Dpu() as dpu:
        yield dpu
        assert dpu.own_mistakes() == []


def connected(stack: ExitStack, where: Path | socket.socket, memory: GuestMemory) -> FrontEnd:
    front = stack.enter_context(FrontEnd(where))
    front.negotiate()
    memory.map_into(front)
    return front


def talk(dpu: Dpu, device: Plugged, net: VhostDriver, count: int) -> None:
    """Frames both ways, each of which arrives once."""
    with dpu.representor(device) as outside:
        for n in range(count):
            there, back = (frame(OUTSIDE, device.mac, bytes([n]) * 50), frame(device.mac, OUTSIDE, bytes([n]) * 60))
            net.send(there)
            assert outside.receive() == there
            outside.send(back)
            assert net.receive() == back


def kill_datapath(dpu: Dpu) -> None:
    former = dpu.datapath_pid
    dpu.kill_datapath()
    dpu.wait_for_another_datapath(former)


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen(4)
    listener.settimeout(PATIENCE)
    return listener


def test_packed_rings_go_on_where_a_killed_datapath_left_them(dpu: Dpu) -> None:
    """The front end knows no more than where it began: the controller's file says the rest."""
    device = dpu.hotplug(export="vhost-user", features=f.mask_of(f.RING_PACKED))
    with GuestMemory() as memory, ExitStack() as stack:
        front = connected(stack, device.socket, memory)
        net = stack.enter_context(VhostDriver(front, memory, wanted=PACKED, queue_size=64)).start()
        talk(dpu, device, net, 41)
        for _ in range(3):
            kill_datapath(dpu)
            net.resume(connected(stack, device.socket, memory), dict.fromkeys(net.rings, FRESH_PACKED))
            talk(dpu, device, net, 41)


def test_packed_rings_go_on_when_everything_was_killed(dpu: Dpu) -> None:
    device = dpu.hotplug(export="vhost-user", features=f.mask_of(f.RING_PACKED))
    with GuestMemory() as memory, ExitStack() as stack:
        front = connected(stack, device.socket, memory)
        net = stack.enter_context(VhostDriver(front, memory, wanted=PACKED, queue_size=64)).start()
        talk(dpu, device, net, 5)
        dpu.kill_controller()
        dpu.kill_datapath()
        dpu.start_controller()
        net.resume(connected(stack, device.socket, memory), dict.fromkeys(net.rings, FRESH_PACKED))
        talk(dpu, device, net, 5)


def test_packed_rings_go_on_after_the_front_end_broke_the_connection(dpu: Dpu) -> None:
    device = dpu.hotplug(export="vhost-user", features=f.mask_of(f.RING_PACKED))
    with GuestMemory() as memory, ExitStack() as stack:
        front = connected(stack, device.socket, memory)
        net = stack.enter_context(VhostDriver(front, memory, wanted=PACKED, queue_size=64)).start()
        for _ in range(3):
            talk(dpu, device, net, 20)
            net.front.close()
            net.resume(connected(stack, device.socket, memory), dict.fromkeys(net.rings, FRESH_PACKED))
        talk(dpu, device, net, 20)


def test_a_guest_that_began_anew_meanwhile_is_begun_with(dpu: Dpu) -> None:
    """Its rings are where the former ones were, of the same size, and begin where those began."""
    device = dpu.hotplug(export="vhost-user", features=f.mask_of(f.RING_PACKED))
    for _ in range(3):
        with GuestMemory() as memory, ExitStack() as stack:
            front = connected(stack, device.socket, memory)
            net = stack.enter_context(VhostDriver(front, memory, wanted=PACKED, queue_size=64)).start()
            talk(dpu, device, net, 20)
            kill_datapath(dpu)


def test_its_file_goes_with_the_device(dpu: Dpu) -> None:
    device = dpu.hotplug(export="vhost-user")
    kept = device.socket.with_suffix(".rings")
    assert kept.exists()
    dpu.unplug(device)
    assert not kept.exists()


@pytest.mark.parametrize("layout", BEGINNINGS)
def test_a_vmm_that_listens_is_connected_to_and_again_whatever_ends(dpu: Dpu, layout: str, tmp_path: Path) -> None:
    wanted, begin = BEGINNINGS[layout]
    path = tmp_path / "vmm"
    device = dpu.hotplug(export="vhost-user", features=f.mask_of(f.RING_PACKED), connect=str(path))
    assert dpu.query(device)["export_listener"] == "vmm"
    with listening(path) as listener, GuestMemory() as memory, ExitStack() as stack:
        front = connected(stack, listener.accept()[0], memory)
        net = stack.enter_context(VhostDriver(front, memory, wanted=wanted, queue_size=64)).start()
        talk(dpu, device, net, 5)
        for end in (net.front.close, lambda: kill_datapath(dpu)):
            end()
            front = connected(stack, listener.accept()[0], memory)
            net.resume(front, None if layout == "split" else dict.fromkeys(net.rings, begin))
            talk(dpu, device, net, 5)
        dpu.restart_controller()
        talk(dpu, device, net, 5)


def test_a_vmm_that_hangs_up_at_once_is_tried_again(dpu: Dpu, tmp_path: Path) -> None:
    with listening(tmp_path / "vmm") as listener, GuestMemory() as memory, ExitStack() as stack:
        dpu.hotplug(export="vhost-user", connect=str(tmp_path / "vmm"))
        for _ in range(3):
            listener.accept()[0].close()
        connected(stack, listener.accept()[0], memory)


def test_a_qemu_that_listens_is_found_whenever_it_starts(dpu: Dpu) -> None:
    """As `softdpu qemu-args` has it, with the path that is usual."""
    device = dpu.hotplug(export="vhost-user", connect="")
    arguments = dpu.qemu_arguments()
    assert f"path={device.socket},server=on,wait=off" in " ".join(arguments)
    prefix = Lab().build().prefix
    words = ["-nodefaults", "-display", "none", "-accel", "tcg", "-m", "64M", "-S"]
    arguments = [word.replace("size=1G", "size=64M") for word in arguments]
    for _ in range(2):
        with subprocess.Popen(prefix.qemu(*words, *arguments), env=prefix.environment()) as qemu:
            wait_until_vmm(dpu, device, "connected")
            qemu.kill()
        wait_until_vmm(dpu, device, "none")


def wait_until_vmm(dpu: Dpu, device: Plugged, state: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while dpu.query(device)["vmm"] != state:
        assert time.monotonic() < deadline, json.dumps(dpu.query(device))
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("wish", "path", "why"),
    [("vfio-user", "/tmp/x", "does not go with"), (None, "x", "absolute path"), (None, "/" * 200, "absolute path")],
)
def test_a_path_that_cannot_be_is_refused(dpu: Dpu, wish: str | None, path: str, why: str) -> None:
    with pytest.raises(OperatorError, match=why):
        dpu.hotplug(export=wish, connect=path)
