"""What survives what: the table of the operator's interface, for static PFs and hotplug PFs."""

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from softdpu.testkit import LegacyDriver, frame
from tests.controller.left import listing, things
from tests.dpu_under_test import FIRMWARE, Dpu, Plugged
from tests.small_guest import SmallGuest

WHO = ("pf_id", "vuid", "pci_bdf", "sf_num", "sf_rep_net_device", "transitional")
KEYS = (*WHO, "mac", "mtu", "link_status", "speed", "max_queue_size", "dim")
OUTSIDE = bytes.fromhex("02000000fffe")


@pytest.fixture
def dpu() -> Iterator[Dpu]:
    """A DPU with two static PFs."""
    with Dpu(FIRMWARE | {"VIRTIO_NET_EMULATION_NUM_PF": 2}) as dpu:
        yield dpu
        assert dpu.own_mistakes() == []


def who(dpu: Dpu) -> list[dict[str, Any]]:
    """Every device by what must stay."""
    return [{key: device[key] for key in KEYS} for device in listing(dpu)["devices"]]


def prepared(dpu: Dpu) -> list[dict[str, Any]]:
    """A hotplug PF beside the static ones; one of each changed by the operator."""
    dpu.modify(dpu.hotplug(), mtu=9000, mac="0c:c4:7a:99:99:99", link=0)
    dpu.virtnet("modify", "-p", 1, "device", "-t", 1400, "-e", 100, "-q", 512, "-dim", "enable")
    before = who(dpu)
    assert len(before) == 3
    assert (before[1]["mtu"], before[1]["speed"], before[2]["link_status"]) == ("1400", "100", "0")
    assert (before[1]["max_queue_size"], before[1]["dim"]) == ("512", "enabled")
    return before


def softdpu(dpu: Dpu, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from softdpu.cli.softdpu import command; sys.exit(command(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=dpu.environment, capture_output=True, text=True, check=False, timeout=60)


def test_restart_keeps_all(dpu: Dpu) -> None:
    before = prepared(dpu)
    dpu.virtnet("restart")
    assert who(dpu) == before


def test_a_killed_controller_loses_nothing(dpu: Dpu) -> None:
    before = prepared(dpu)
    dpu.restart_controller()
    assert who(dpu) == before


def test_a_killed_datapath_comes_back_with_all(dpu: Dpu) -> None:
    """The controller starts everything afresh; whoever kept a connection must connect again."""
    before, old = prepared(dpu), dpu.datapath_pid
    dpu.kill_datapath()
    dpu.wait_for_another_datapath(old)
    assert who(dpu) == before
    with SmallGuest(dpu.hotplug()) as guest, dpu.representor(guest.device) as outside:
        guest.net.send(frame(OUTSIDE, guest.net.mac, b"works"))
        assert b"works" in outside.receive()


def test_both_killed_come_back_with_all(dpu: Dpu) -> None:
    """As after a reboot of the DPU's machine: recovery files are all there is."""
    before = prepared(dpu)
    dpu.kill_controller()
    dpu.kill_datapath()
    dpu.start_controller()
    assert who(dpu) == before


def test_features_of_a_static_pf_stay_until_virtnet_conf_has_others(dpu: Dpu) -> None:
    def again() -> set[str]:
        dpu.kill_controller()
        dpu.kill_datapath()
        dpu.start_controller()
        return {"33", "34"} & set(dpu.virtnet("query", "-p", 0).json["devices"][0]["device_features"])

    dpu.virtnet("modify", "-p", 0, "device", "-f", hex(1 << 33))
    assert again() == {"33"}
    configuration = dpu.root / "opt/mellanox/mlnx_virtnet/virtnet.conf"
    configuration.write_text(json.dumps({"static_pf": {"features": hex(1 << 34)}}))
    assert again() == {"34"}


def test_live_update_keeps_all_and_the_guest_goes_on(own_dpu: Dpu) -> None:
    device = own_dpu.hotplug()
    with SmallGuest(device, LegacyDriver) as guest, own_dpu.representor(device) as outside:
        before = who(own_dpu)
        own_dpu.virtnet("update", "-s")
        while own_dpu.virtnet("update", "-t", check=False).json.get("last status") != "success":
            guest.net.send(frame(OUTSIDE, guest.net.mac, b"on and on"))
            assert b"on and on" in outside.receive()
        assert own_dpu.virtnet("update", "-t").json["current status"] == "inactive"
        assert own_dpu.virtnet("update", "-t").json["time_used (s)"] > 0
        assert who(own_dpu) == before
        own_dpu.hotplug()


def test_live_update_to_what_cannot_start_fails_and_this_version_goes_on(own_dpu: Dpu) -> None:
    device, settings = own_dpu.hotplug(), own_dpu.root / "var/lib/softdpu/firmware.json"
    good, pid = settings.read_bytes(), own_dpu.controller.pid if own_dpu.controller else 0
    settings.write_text("{")
    own_dpu.virtnet("update", "-s")
    while (status := own_dpu.virtnet("update", "-t").json)["current status"] == "active":
        pass
    settings.write_bytes(good)
    assert status["last status"] == "failure"
    assert "the firmware settings are damaged" in own_dpu.log.read_text()
    assert own_dpu.controller and own_dpu.controller.pid == pid
    own_dpu.unplug(device)


def test_unplug_is_for_ever(dpu: Dpu) -> None:
    dpu.unplug(dpu.hotplug())
    left = who(dpu)
    dpu.kill_controller()
    dpu.kill_datapath()
    dpu.start_controller()
    assert who(dpu) == left
    assert [device["pf_id"] for device in left] == [0, 1]


def test_a_power_cycle_leaves_static_pfs_as_new(dpu: Dpu) -> None:
    new = who(dpu)
    prepared(dpu)
    done = softdpu(dpu, "power-cycle")
    assert done.returncode == 0, done.stderr
    assert who(dpu) == new
    assert things(dpu).files == sorted(device["vuid"] for device in new)


def test_a_power_cycle_makes_next_boot_current(own_dpu: Dpu) -> None:
    code = "import sys; from softdpu.cli.mlxconfig import command; sys.exit(command(sys.argv[1:]))"
    line = [sys.executable, "-c", code, "-d", "03:00.0", "-y", "s", "VIRTIO_NET_EMULATION_NUM_PF=3"]
    subprocess.run(line, env=own_dpu.environment, check=True, capture_output=True)
    assert who(own_dpu) == []
    assert softdpu(own_dpu, "power-cycle").returncode == 0
    assert [device["pf_id"] for device in who(own_dpu)] == [0, 1, 2]


def test_stop_ends_all_and_the_next_start_brings_all_back(dpu: Dpu) -> None:
    before, datapath = prepared(dpu), dpu.datapath_pid
    assert softdpu(dpu, "stop").returncode == 0
    assert dpu.gone(datapath)
    assert [path.name for path in (dpu.root / "run/virtnet").iterdir() if path.is_socket()] == []
    assert "en3f0" not in dpu.ip("link")
    dpu.start_controller()
    assert who(dpu) == before


def test_a_driver_that_was_bound_is_bound_after_a_restart(dpu: Dpu) -> None:
    device = dpu.hotplug()
    with SmallGuest(device, LegacyDriver):
        dpu.virtnet("restart")
        reply = dpu.virtnet("modify", "-p", device.pf, "device", "-t", 1400, check=False)
        assert reply.json["errno"] == errno.EBUSY


def test_a_device_whose_file_was_lost_gets_one_again(own_dpu: Dpu) -> None:
    device = own_dpu.hotplug()
    own_dpu.kill_controller()
    (own_dpu.root / "opt/mellanox/mlnx_virtnet/recovery" / device.vuid).unlink()
    (own_dpu.root / "run/virtnet/MT0VNETS9D0F0.sock").touch()
    own_dpu.start_controller()
    assert things(own_dpu).files == [device.vuid]
    assert "MT0VNETS9D0F0.sock" not in things(own_dpu).sockets


def test_hostile_recovery_files_cost_their_own_device_only(own_dpu: Dpu) -> None:
    """Damage, two files with one scalable function, and a port that is not there: the rest comes back."""
    first, second = own_dpu.hotplug(), own_dpu.hotplug()
    folder = own_dpu.root / "opt/mellanox/mlnx_virtnet/recovery"
    good = (folder / first.vuid).read_text()
    own_dpu.kill_controller()
    own_dpu.kill_datapath()
    (folder / second.vuid).write_text(good)
    (folder / "MT0VNETS7D0F0").write_text(good.replace("mlx5_0", "mlx5_7").replace("2000", "2100"))
    (folder / "MT0VNETS8D0F0").write_text('{"mac":"zz"}')
    (folder / "MT0VNETS0D9F9").write_text("\0")
    own_dpu.start_controller()
    assert [device["vuid"] for device in who(own_dpu)] == [first.vuid]
    assert own_dpu.hotplug().vuid == second.vuid


def test_damaged_hosts_file_is_named_and_the_controller_serves(own_dpu: Dpu) -> None:
    own_dpu.kill_controller()
    (own_dpu.root / "var/lib/softdpu/hosts.json").write_text('{"../x": "relative"}')
    own_dpu.start_controller()
    assert "hosts.json is damaged" in own_dpu.log.read_text()


def test_a_representor_that_left_its_bridge_meanwhile_is_back_in_the_switch(own_dpu: Dpu) -> None:
    first, second = own_dpu.hotplug(), own_dpu.hotplug()
    try:
        own_dpu.ip("link", "add", "br0", "type", "bridge")
    except RuntimeError as error:
        pytest.skip(f"this kernel has no bridge: {error}")
    own_dpu.ip("link", "set", first.representor, "master", "br0")
    with SmallGuest(first) as one, SmallGuest(second) as two:
        own_dpu.kill_controller()
        own_dpu.ip("link", "set", first.representor, "nomaster")
        own_dpu.start_controller()
        one.net.send(frame(b"\xff" * 6, one.net.mac, b"to all"))
        assert b"to all" in two.net.receive()


def test_a_guest_that_used_a_killed_datapath_finds_its_device_again(own_dpu: Dpu) -> None:
    device: Plugged = own_dpu.hotplug()
    with SmallGuest(device):
        old = own_dpu.datapath_pid
        own_dpu.kill_datapath()
        own_dpu.wait_for_another_datapath(old)
    with SmallGuest(device) as guest:
        assert guest.net.link_up
