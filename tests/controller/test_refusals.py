"""An operator's mistake is one sentence with the cure, errno in the JSON, exit 1, and nothing is left behind."""

import errno
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from softdpu.testkit import ModernDriver
from tests.controller.left import refused, things
from tests.dpu_under_test import FIRMWARE, Dpu, Plugged
from tests.small_guest import SmallGuest

GOOD = {"-i": "mlx5_0", "-m": "0C:C4:7A:FF:22:93", "-t": 1500, "-n": 3, "-s": 1024}


def hotplug(*more: object, **changed: object) -> list[object]:
    options = GOOD | {f"-{name}": value for name, value in changed.items()}
    return ["hotplug", *(word for option in options.items() for word in option), *more]


@pytest.mark.parametrize(
    ("request_", "number", "sentence"),
    [
        (hotplug(m="0C:C4:7A:FF:22"), errno.EINVAL, "such as 0C:C4:7A:FF:22:93"),
        (hotplug(m="01:00:00:00:00:01"), errno.EINVAL, "a unicast address"),
        (hotplug(t=67), errno.EINVAL, "68..9216"),
        (hotplug(t=9217), errno.EINVAL, "68..9216"),
        (hotplug(s=1000), errno.EINVAL, "a power of two from 2 to 32768"),
        (hotplug(s=1), errno.EINVAL, "a power of two from 2 to 32768"),
        (hotplug(n=1), errno.EINVAL, "It counts virtqueues"),
        (hotplug(n=11), errno.EINVAL, "raise VIRTIO_NET_EMULATION_NUM_MSIX with mlxconfig"),
        (hotplug(i="mlx5_9"), errno.ENODEV, "use one of mlx5_0, mlx5_1"),
        (hotplug(f="0x8000000000"), errno.EOPNOTSUPP, "leave 0x8000000000 out"),
        (hotplug(u=999), errno.EINVAL, "Leave -u away"),
        (hotplug("--num_msix", 11), errno.EINVAL, "Ask for fewer"),
        (hotplug("--host", "nowhere"), errno.ENODEV, "softdpu host attach QMP_SOCKET --name nowhere"),
        (["unplug", "-p", 77], errno.ENODEV, "See virtnet list"),
        (["query", "-u", "MT0VNETS1D0F0"], errno.ENODEV, "See virtnet list"),
        (["modify", "-p", 77, "device", "-t", 1400], errno.ENODEV, "See virtnet list"),
    ],
)
def test_bad_input_is_refused(dpu: Dpu, request_: list[object], number: int, sentence: str) -> None:
    found, said = refused(dpu, *request_)
    assert sentence in said
    assert found == number


@pytest.fixture(scope="module")
def plain() -> Iterator[Dpu]:
    """A DPU whose firmware allows one hotplug device, and no transitional one."""
    with Dpu(FIRMWARE | {"VIRTIO_EMULATION_HOTPLUG_TRANS": 0, "PCI_SWITCH_EMULATION_NUM_PORT": 2}) as dpu:
        yield dpu


def test_a_transitional_device_needs_the_firmwares_leave(plain: Dpu) -> None:
    number, said = refused(plain, *hotplug("-l"))
    assert number == errno.EPERM
    assert "VIRTIO_EMULATION_HOTPLUG_TRANS=1" in said


def test_without_a_free_port_nothing_is_plugged(plain: Dpu) -> None:
    device = plain.hotplug(legacy=False)
    number, said = refused(plain, *hotplug())
    plain.unplug(device)
    assert number == errno.ENOSPC
    assert "1 of 1 are used" in said
    assert "virtnet unplug" in said


def test_a_scalable_function_in_use_is_not_given_twice(dpu: Dpu, device: Plugged) -> None:
    number, said = refused(dpu, *hotplug(u=device.reply["sf_rep_net_device"].rpartition("sf")[2]))
    assert number == errno.EEXIST
    assert device.vuid in said


def test_a_representor_name_in_use_is_named_with_its_owner(dpu: Dpu) -> None:
    dpu.ip("tuntap", "add", "en3f0pf0sf4000", "mode", "tap")
    number, said = refused(dpu, *hotplug(u=4000))
    dpu.ip("link", "del", "en3f0pf0sf4000")
    assert number == errno.EEXIST
    assert "a tap that no process holds" in said


def test_a_qemu_that_is_not_there_is_no_host(dpu: Dpu) -> None:
    before = things(dpu)
    code = "import sys; from softdpu.cli.softdpu import command; sys.exit(command(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "host", "attach", "/nowhere/qmp.sock"]
    done = subprocess.run(command, env=dpu.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Start QEMU with -qmp" in done.stdout + done.stderr
    assert things(dpu) == before
    assert not (dpu.root / "var/lib/softdpu/hosts.json").exists()


def test_a_recovery_file_that_cannot_be_written_undoes_the_hotplug(own_dpu: Dpu) -> None:
    recovery = own_dpu.root / "opt/mellanox/mlnx_virtnet/recovery"
    recovery.parent.mkdir(parents=True, exist_ok=True)
    recovery.write_text("a file where the folder belongs")
    _, said = refused(own_dpu, *hotplug())
    assert "free space there, or make the place writable" in said
    recovery.unlink()
    own_dpu.hotplug()


def test_a_socket_that_cannot_be_made_undoes_the_hotplug(own_dpu: Dpu) -> None:
    (own_dpu.root / "run/virtnet" / _first_socket(own_dpu)).mkdir()
    _, said = refused(own_dpu, *hotplug())
    assert "cannot be made" in said


def _first_socket(dpu: Dpu) -> str:
    device = dpu.hotplug()
    dpu.unplug(device)
    return device.socket.name


def test_properties_that_need_an_unbound_driver_are_refused_while_one_is_bound(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device, ModernDriver):
        for option in (("-m", "0C:C4:7A:00:00:01"), ("-t", 1400)):
            before = dpu.query(device)
            number, said = refused(dpu, "modify", "-p", device.pf, "device", "-l", 0, *option)
            assert number == errno.EBUSY
            assert "/sys/bus/pci/drivers/virtio-pci/unbind" in said
            after = dpu.query(device)
            assert [after[key] for key in ("mac", "mtu", "link_status")] == [
                before[key] for key in ("mac", "mtu", "link_status")
            ]


def test_vectors_of_a_pf_cannot_be_modified(dpu: Dpu, device: Plugged) -> None:
    number, said = refused(dpu, "modify", "-p", device.pf, "device", "-n", 4)
    assert number == errno.EPERM
    assert "only VFs share a pool" in said


def test_an_mtu_that_the_representor_cannot_have_changes_nothing(dpu: Dpu) -> None:
    """The representor's MTU is never below the device's."""
    device = dpu.hotplug()
    dpu.ip("link", "del", device.representor)
    number, said = refused(dpu, "modify", "-p", device.pf, "device", "-t", 9000)
    assert (number, dpu.query(device)["mtu"]) == (errno.ENODEV, "1500")
    assert "plug it again" in said
    dpu.unplug(device)


def test_a_static_pf_is_not_unplugged() -> None:
    with Dpu(FIRMWARE | {"VIRTIO_NET_EMULATION_NUM_PF": 1}) as dpu:
        number, said = refused(dpu, "unplug", "-p", 0)
    assert number == errno.EPERM
    assert "VIRTIO_NET_EMULATION_NUM_PF" in said


def test_without_a_controller_the_operator_is_told_how_to_start_it(own_dpu: Dpu) -> None:
    own_dpu.kill_controller()
    reply = own_dpu.virtnet("list", check=False)
    assert reply.status == 1
    assert reply.json["errno"] == errno.ECONNREFUSED
    assert "systemctl start virtio-net-controller" in reply.json["errstr"]


def test_a_device_of_a_qemu_that_is_not_attached_is_not_pulled(own_dpu: Dpu, tmp_path: Path) -> None:
    """Its guest would be left with a dead device. Here a program of that name holds the socket."""
    device = own_dpu.hotplug()
    fake = tmp_path / "qemu-system-x86_64"
    fake.symlink_to(shutil.which("python3", path=Path(sys.executable).parent) or sys.executable)
    script = (
        "import sys; from softdpu.testkit import Client\n"
        "with Client(sys.argv[1]) as vmm:\n    vmm.negotiate(); print('there', flush=True); sys.stdin.read()"
    )
    source = str(Path(__file__).parents[2] / "src")
    with subprocess.Popen(
        [fake, "-c", script, device.socket],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=own_dpu.environment | {"PYTHONPATH": ":".join([source, *filter(None, sys.path)])},
    ) as vmm:
        assert vmm.stdout is not None
        assert vmm.stdout.readline() == b"there\n"
        for _ in range(2):
            number, said = refused(own_dpu, "unplug", "-p", device.pf)
            assert number == errno.EBUSY
            assert f"(pid {vmm.pid})" in said
            assert "softdpu host attach QMP_SOCKET" in said
            own_dpu.restart_controller()  # the next one knows as well
