"""A guest does what it is told, says how it went, and is gone afterwards."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from qemu.qmp import ExecuteError

from softdpu.lab import Guest, GuestDied, GuestError, GuestTimeout, Lab, Result

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def guest(lab: Lab) -> Iterator[Guest]:
    """One guest for the tests that leave it as it was."""
    with Guest("6.12", root_ports=2, lab=lab) as guest:
        yield guest


@pytest.fixture
def victim(lab: Lab) -> Iterator[Guest]:
    """A guest for a test that ends it."""
    with Guest("6.1", cmdline="lab.modules=none", lab=lab) as guest:
        yield guest


def gone(pid: int, seconds: float = 5) -> bool:
    """Whether the process ends within `seconds`; a zombie has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.3"])
def test_each_kernel_boots_and_drives_a_virtio_device(lab: Lab, kernel: str) -> None:
    device = {"driver": "virtio-net-pci-transitional", "netdev": "n", "mac": "52:54:00:00:00:07"}
    with Guest(kernel, devices=[device], netdevs=["user,id=n"], lab=lab) as guest:
        assert guest.release == lab.release(kernel)
        assert guest.run("uname -r").output == f"{guest.release}\n"
        assert guest.run("cat /sys/class/net/eth0/address").output == "52:54:00:00:00:07\n"
        assert "Linux version" in guest.console


@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.3"])
def test_legacy_guests_use_the_port_registers(lab: Lab, kernel: str) -> None:
    with Guest(kernel, devices=["virtio-net-pci-transitional"], legacy=True, lab=lab) as guest:
        assert "virtio-pci-legacy" in guest.run("cat /proc/ioports").output


def test_a_module_can_be_loaded_again_with_force_legacy(lab: Lab) -> None:
    with Guest("6.1", devices=["virtio-net-pci-transitional"], lab=lab) as guest:
        assert "virtio-pci-legacy" not in guest.run("cat /proc/ioports").output
        guest.run("virtio reload force_legacy=1", check=True)
        assert "virtio-pci-legacy" in guest.wait_for("grep virtio /proc/ioports").output


def test_status_and_output_are_the_commands_own(guest: Guest) -> None:
    assert guest.run("echo out; echo err >&2; exit 42") == Result("out\nerr\n", 42)
    assert guest.run("true") == Result("", 0)
    assert guest.run("no-such-command").status == 127
    assert guest.run("kill -9 $$").status == 137


def test_output_survives_kernel_messages_and_control_characters(guest: Guest) -> None:
    command = (
        "i=0; while [ $i -lt 50 ]; do echo line $i; echo noise >/dev/kmsg; i=$((i+1)); done; printf '\\003\\021\\033x'"
    )
    expected = "".join(f"line {number}\n" for number in range(50))
    assert guest.run(command).output == f"{expected}\x03\x11\x1bx"
    assert "noise" in guest.console


def test_long_output_comes_whole(guest: Guest) -> None:
    assert guest.run("seq 1 20000").output == "".join(f"{number}\n" for number in range(1, 20001))


def test_commands_run_side_by_side(guest: Guest) -> None:
    jobs = [guest.begin(f"echo a{number}; sleep 0.{number % 7}; echo b{number}") for number in range(20)]
    results = [job.wait() for job in jobs]
    assert results == [Result(f"a{number}\nb{number}\n", 0) for number in range(20)]


def test_a_command_that_takes_too_long_is_killed_and_its_output_told(guest: Guest) -> None:
    with pytest.raises(GuestTimeout, match=r"did not end in 1 s; it wrote 'begun\\n'"):
        guest.run("echo begun; sleep 1234", timeout=1)
    guest.wait_for("! pidof sleep", timeout=10)


def test_a_running_job_shows_its_output_and_can_be_killed(guest: Guest) -> None:
    job = guest.begin("echo begun; sleep 1234")
    guest.wait_for("pidof sleep")
    assert job.output() == "begun\n"
    job.kill()
    assert job.wait() == Result("begun\n", 137)


def test_check_turns_a_status_into_an_error(guest: Guest) -> None:
    with pytest.raises(GuestError, match="ended with status 3: why"):
        guest.run("echo why; exit 3", check=True)


def test_wait_for_repeats_until_the_command_succeeds(guest: Guest) -> None:
    guest.begin("sleep 1; touch /tmp/there")
    assert guest.wait_for("ls /tmp/there").output == "/tmp/there\n"


def test_wait_for_tells_the_last_result(guest: Guest) -> None:
    with pytest.raises(GuestTimeout, match=r"ended with status 1 and wrote 'no\\n'"):
        guest.wait_for("echo no; false", timeout=1)


def test_a_file_arrives_as_it_is(guest: Guest) -> None:
    data = bytes(range(256)) * 100
    guest.write_file("/tmp/data", data)
    assert guest.run("sha256sum </tmp/data").output.split()[0] == hashlib.sha256(data).hexdigest()


def test_a_device_is_plugged_and_unplugged(guest: Guest) -> None:
    guest.plug({"driver": "virtio-net-pci-non-transitional", "id": "n1", "bus": "rp1"})
    guest.wait_for("ip link show eth0")
    guest.unplug("n1")
    guest.wait_for("! ip link show eth0")


def test_what_qemu_refuses_is_raised(guest: Guest) -> None:
    with pytest.raises(ExecuteError, match="nonsense"):
        guest.plug({"driver": "nonsense"})


def test_another_client_can_use_the_qmp_socket(guest: Guest) -> None:
    assert guest.qmp_path.is_socket()
    assert guest.qmp("query-status")["status"] == "running"


def test_reboot_and_reset_start_the_guest_anew(lab: Lab) -> None:
    with Guest("6.1", cmdline="lab.modules=none", lab=lab) as guest:
        for restart in (guest.reboot, guest.system_reset):
            guest.run("touch /mark", check=True)
            sleeping = guest.begin("sleep 1234")
            restart()
            assert guest.run("ls /mark").status == 1
            with pytest.raises(GuestError, match="restarted while the command ran"):
                sleeping.wait(1)


def test_the_death_of_qemu_is_noticed_at_once(victim: Guest) -> None:
    job = victim.begin("sleep 1234")
    os.kill(victim.pid, signal.SIGSEGV)
    with pytest.raises(GuestDied, match=r"QEMU ended with status -11[\s\S]*The console's last lines:\n[\s\S]*\["):
        job.wait(60)
    with pytest.raises(GuestDied):
        victim.run("true")


def test_a_panic_is_noticed_at_once(victim: Guest) -> None:
    with pytest.raises(GuestDied, match=r"kernel panicked[\s\S]*sysrq triggered crash"):
        victim.run("echo c >/proc/sysrq-trigger", timeout=30)


def test_what_qemu_says_when_it_does_not_start_is_told(lab: Lab) -> None:
    with (
        pytest.raises(GuestDied, match="'nonsense' is not a valid device model name"),
        Guest(devices=["nonsense"], lab=lab),
    ):
        pass


def test_nothing_is_left_when_the_block_ends(lab: Lab) -> None:
    with pytest.raises(RuntimeError), Guest("6.1", cmdline="lab.modules=none", lab=lab) as guest:
        pid, folder = guest.pid, guest.qmp_path.parent
        raise RuntimeError
    assert gone(pid)
    assert not folder.exists()


def test_qemu_does_not_outlive_a_test_that_is_killed(lab: Lab, tmp_path: Path) -> None:
    code = "from softdpu.lab import Guest; g = Guest('6.1'); g.start(); print(g.pid, flush=True); g.ready(); input()"
    environment = {**os.environ, "SOFTDPU_LAB": str(lab.cache), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    assert gone(pid)
