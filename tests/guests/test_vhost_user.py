"""With `auto`, a hot-plugged function is rings behind QEMU's own where that can do more: unplug, and come back."""

import errno
from dataclasses import replace

import pytest

from softdpu.controller.errors import OperatorError
from softdpu.lab import Guest
from tests.dpu_under_test import Plugged
from tests.guests.bench import Bench, Nic
from tests.guests.conftest import Boot
from tests.guests.traffic import traffic

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]

REASONS = {"11.1": "aborts when a vfio-user device with MSI-X is unplugged", "7.2": "has no vfio-user-pci device"}


@pytest.mark.parametrize("qemu", REASONS)
def test_hotplug_as_documented(bench: Bench, boot: Boot, qemu: str) -> None:
    """One guest: legacy and modern driver, unplug and re-plug under traffic, the datapath killed under traffic."""
    guest = boot("6.1", qemu=qemu, root_ports=1)
    if qemu == "7.2":
        a_whole_function_is_refused(bench, guest)
    device = bench.hotplug(guest, export="auto")
    shown = bench.dpu.query(device)
    assert (shown["export"], shown["transitional"]) == ("vhost-user", 1)
    assert REASONS[qemu] in shown["export_reason"]
    nic = serves_either_driver(bench, guest, device)
    nic = leaves_and_comes_back_under_traffic(bench, nic)
    its_link_is_the_devices(bench, nic)
    outlives_its_controller_and_its_datapath(bench, nic)
    its_link_stays_down_when_both_are_killed(bench, nic)
    nic = what_its_vmm_shows_changes_while_no_driver_is_bound(bench, nic)
    bench.dpu.unplug(nic.device)
    assert not [entry for entry in guest.qmp("query-chardev") if nic.device.vuid in entry["label"]]
    assert bench.dpu.own_mistakes() == []


def a_whole_function_is_refused(bench: Bench, guest: Guest) -> None:
    _, reply = bench.try_hotplug(guest, "-l", "--export", "vfio-user")
    assert (reply.status, reply.json["errno"]) == (1, errno.EOPNOTSUPP)
    assert "QEMU 7.2" in reply.json["errstr"]
    assert "has no vfio-user-pci device" in reply.json["errstr"]
    assert bench.dpu.virtnet("list").json["devices"] == []


def serves_either_driver(bench: Bench, guest: Guest, device: Plugged) -> Nic:
    for parameter, mode in (("", "modern"), ("force_legacy=1", "legacy")):
        guest.run(f"virtio reload {parameter}", check=True)
        bench.ping_both_ways(nic := bench.configure(guest, device))
        assert bench.dpu.query(device)["driver_mode"] == mode
    return nic


def leaves_and_comes_back_under_traffic(bench: Bench, nic: Nic) -> Nic:
    with traffic(bench, nic):
        bench.dpu.unplug(nic.device)
        nic.guest.wait_for("[ $(ls /sys/class/net | wc -l) = 1 ]")
        again = bench.hotplug(nic.guest, export="auto")
    bench.ping_both_ways(found := bench.configure(nic.guest, again))
    return found


def its_link_is_the_devices(bench: Bench, nic: Nic) -> None:
    for _ in range(3):
        with traffic(bench, nic):
            for link in (0, 1):
                bench.dpu.modify(nic.device, link=link)
                nic.guest.wait_for(f"[ $(cat /sys/class/net/{nic.name}/carrier) = {link} ]", timeout=20)
            nic.guest.wait_for(f"ping -c 1 -W 1 {nic.gateway}", timeout=20)
    bench.ping_both_ways(nic)


def outlives_its_controller_and_its_datapath(bench: Bench, nic: Nic) -> None:
    bench.dpu.restart_controller()
    shown = bench.dpu.query(nic.device)
    assert (shown["export"], shown["driver_mode"], shown["vmm"]) == ("vhost-user", "legacy", "connected")
    outlives_its_datapath(bench, nic)


def outlives_its_datapath(bench: Bench, nic: Nic) -> None:
    with traffic(bench, nic):
        former = bench.dpu.datapath_pid
        bench.dpu.kill_datapath()
        bench.dpu.wait_for_another_datapath(former)
        nic.guest.wait_for(f"ping -c 1 -W 1 {nic.gateway}")
    bench.ping_both_ways(nic)


def its_link_stays_down_when_both_are_killed(bench: Bench, nic: Nic) -> None:
    """QEMU takes it up whenever it has connected anew; whoever then finds QEMU takes it down again."""
    carrier = f"cat /sys/class/net/{nic.name}/carrier"
    bench.dpu.modify(nic.device, link=0)
    nic.guest.wait_for(f"[ $({carrier}) = 0 ]")
    bench.dpu.kill_controller()
    bench.dpu.kill_datapath()
    bench.dpu.start_controller()
    bench.wait_until_connected(nic.device)
    assert nic.guest.run(f"sleep 1; {carrier}").output.split() == ["0"]
    bench.dpu.modify(nic.device, link=1)
    nic.guest.wait_for(f"[ $({carrier}) = 1 ]", timeout=20)
    bench.address(nic.device)  # its representor is a new one
    bench.ping_both_ways(nic)


@pytest.mark.parametrize("qemu", REASONS)
def test_a_qemu_that_listens_is_connected_to(bench: Bench, boot: Boot, qemu: str) -> None:
    guest = boot("6.1", qemu=qemu, root_ports=1)
    device = bench.hotplug(guest, export="auto", more=["--connect"])
    assert bench.dpu.query(device)["export_listener"] == "vmm"
    nic = bench.configure(guest, device)
    bench.ping_both_ways(nic)
    outlives_its_datapath(bench, nic)
    nic = what_its_vmm_shows_changes_while_no_driver_is_bound(bench, nic)
    bench.dpu.unplug(nic.device)
    assert not [entry for entry in guest.qmp("query-chardev") if nic.device.vuid in entry["label"]]
    assert bench.dpu.own_mistakes() == []


def what_its_vmm_shows_changes_while_no_driver_is_bound(bench: Bench, nic: Nic) -> Nic:
    """QEMU fixes it at the plug, so the function leaves and comes back in its place."""
    with pytest.raises(OperatorError, match="unbind the guest's driver first"):
        bench.dpu.modify(nic.device, mtu=1400)
    nic.guest.run(f"echo {nic.bdf} >/sys/bus/pci/drivers/virtio-pci/unbind", check=True)
    mac = nic.device.mac[:3] + b"\x11\x22" + nic.device.mac[5:]
    bench.dpu.modify(nic.device, mtu=1400, mac=mac.hex(":"))
    again = bench.configure(nic.guest, replace(nic.device, mac=mac))
    assert again.bdf == nic.bdf
    assert nic.guest.run(f"cat /sys/class/net/{again.name}/mtu").output.split() == ["1400"]
    bench.ping_both_ways(again)
    return again
