"""Saved states as the operator handles them: files, VFs, a controller that dies in the middle."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from softdpu.controller.errors import OperatorError
from softdpu.testkit import ModernDriver, frame
from tests.dpu_under_test import Dpu, Plugged, Reply
from tests.small_guest import SmallGuest
from tests.vfs import SETTINGS, function, set_vfs

OUTSIDE = bytes.fromhex("02000000fffe")


def softdpu(dpu: Dpu, *arguments: object) -> Reply:
    code = "import sys; from softdpu.cli.softdpu import command; sys.exit(command(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=dpu.environment, capture_output=True, text=True, check=False, timeout=60)
    return Reply(done.returncode, done.stdout, done.stderr)


def passes(guest: SmallGuest, dpu: Dpu) -> bool:
    """Whether a frame of the guest's comes out; TimeoutError if none does."""
    with dpu.representor(guest.device) as outside:
        guest.net.send(frame(OUTSIDE, guest.net.mac, b"here"))
        while b"here" not in outside.receive():  # the device's own word of where its guest is now comes before
            pass
        return True


def given_up(dpu: Dpu, device: Plugged) -> None:
    with pytest.raises(OperatorError):
        dpu.save(device)


def test_the_commands_save_and_restore_through_a_file(own_dpu: Dpu, tmp_path: Path) -> None:
    first, second, file = own_dpu.hotplug(), own_dpu.hotplug(), tmp_path / "state"
    with SmallGuest(first) as guest:
        assert passes(guest, own_dpu)
        saved = softdpu(own_dpu, "save", "-p", first.pf, "--stop", file)
        assert saved.json == {
            "file": str(file),
            "vuid": first.vuid,
            "stopped": 1,
            "errno": 0,
            "errstr": "Success",
        }
        assert file.stat().st_mode & 0o777 == 0o600
        guest.move(second)
        assert softdpu(own_dpu, "restore", "-u", second.vuid, file).json["stopped"] == 0
        assert passes(guest, own_dpu)
        assert softdpu(own_dpu, "save", "-p", second.pf, "--stop", file).status == 0
        assert softdpu(own_dpu, "resume", "-p", second.pf).json["vuid"] == second.vuid
        assert passes(guest, own_dpu)


def test_a_file_that_cannot_be_is_known_before_the_device_is_touched(own_dpu: Dpu, tmp_path: Path) -> None:
    device = own_dpu.hotplug()
    for file in (tmp_path, tmp_path / "nowhere" / "state"):
        refused = softdpu(own_dpu, "save", "-p", device.pf, "--stop", file)
        assert (refused.status, refused.output) == (1, "")
        assert "name a file in a folder that is there" in refused.errors
    assert own_dpu.query(device)["stopped"] == "0"
    assert "cannot be read" in softdpu(own_dpu, "restore", "-p", device.pf, tmp_path / "nothing").errors


def test_a_full_disk_leaves_the_old_file_and_says_how_the_device_goes_on(own_dpu: Dpu, tmp_path: Path) -> None:
    device, small = own_dpu.hotplug(), tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", small], check=True)
    try:
        file = small / "state"
        file.write_bytes(b"the one before" + bytes(4000))
        refused = softdpu(own_dpu, "save", "-p", device.pf, "--stop", file)
        assert refused.status == 1
        assert f"softdpu resume -u {device.vuid}" in refused.errors
        assert file.read_bytes().startswith(b"the one before")
    finally:
        subprocess.run(["umount", small], check=True)


def test_what_a_dying_controller_held_goes_on_under_the_next(own_dpu: Dpu) -> None:
    """It dies when it has told the datapath to stop the device, and before it could tell it to go on."""
    device = own_dpu.hotplug()
    with SmallGuest(device) as guest:
        assert passes(guest, own_dpu)
        os.kill(own_dpu.datapath_pid, signal.SIGSTOP)
        try:
            saving = threading.Thread(target=lambda: given_up(own_dpu, device))
            saving.start()
            threading.Event().wait(0.5)  # for the request to reach the datapath's socket
            own_dpu.kill_controller()
            saving.join()
        finally:
            os.kill(own_dpu.datapath_pid, signal.SIGCONT)
        own_dpu.start_controller()
        assert "whoever saved or restored it has died" in own_dpu.log.read_text()
        assert own_dpu.query(device)["stopped"] == "0"
        assert passes(guest, own_dpu)


def test_a_device_that_was_left_stopped_stays_so_under_the_next_controller(own_dpu: Dpu) -> None:
    device, other = own_dpu.hotplug(), own_dpu.hotplug()
    with SmallGuest(device) as guest:
        state = own_dpu.save(device, stop=True)
        guest.move(other)
        own_dpu.restore(other, state, stop=True)
        own_dpu.restart_controller()
        assert own_dpu.query(other)["stopped"] == "1"
        own_dpu.resume(other)
        assert passes(guest, own_dpu)


@pytest.fixture(scope="module")
def vfs() -> Iterator[Dpu]:
    """A DPU whose first PF has two VFs."""
    with Dpu(SETTINGS) as dpu:
        set_vfs(dpu, 0, 2)
        yield dpu
        assert dpu.own_mistakes() == []


def test_a_vf_goes_on_as_another(vfs: Dpu) -> None:
    first, second = function(vfs, "VF", 0), function(vfs, "VF", 1)
    with SmallGuest(first, ModernDriver) as guest:
        assert passes(guest, vfs)
        state = vfs.save(first, stop=True)
        guest.move(second)
        vfs.restore(second, state)
        assert passes(guest, vfs)


def test_a_pf_with_vfs_is_neither_saved_nor_restored(vfs: Dpu) -> None:
    pf = function(vfs, "static PF", 0)
    for refused in (lambda: vfs.save(pf), lambda: vfs.restore(pf, b"")):
        with pytest.raises(OperatorError, match="has 2 VFs enabled, which are devices of their own"):
            refused()


def test_a_pf_without_vfs_is_saved_and_restored(vfs: Dpu) -> None:
    device = function(vfs, "static PF", 1)
    with SmallGuest(device, ModernDriver) as guest:
        state = vfs.save(device, stop=True)
        vfs.restore(device, state)
        assert passes(guest, vfs)
