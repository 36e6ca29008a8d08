"""Devices work wherever a host can have them: behind a port, behind a bridge, on a conventional bus, from the start."""

import json
import shlex

import pytest

from softdpu.lab import Guest
from tests.dpu_under_test import FIRMWARE, Dpu
from tests.guests.bench import Bench
from tests.guests.conftest import Boot

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]

DRIVERS = pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "modern"])


@DRIVERS
def test_behind_a_root_port(bench: Bench, boot: Boot, legacy: bool) -> None:
    guest = boot("6.12", legacy=legacy, root_ports=2)
    first, second = (bench.configure(guest, bench.hotplug(guest)) for _ in range(2))
    assert first.bdf != second.bdf
    for nic in (first, second):
        bench.ping_both_ways(nic)


@DRIVERS
def test_behind_a_conventional_bridge(bench: Bench, boot: Boot, legacy: bool) -> None:
    guest = boot("6.12", legacy=legacy, bridges=1)
    nics = [bench.configure(guest, bench.hotplug(guest)) for _ in range(2)]
    for nic in nics:
        bench.ping_both_ways(nic)
    assert len({nic.bdf.split(":")[1] for nic in nics}) == 1


@DRIVERS
def test_on_the_conventional_bus_of_an_i440fx(bench: Bench, boot: Boot, legacy: bool) -> None:
    guest = boot("6.12", legacy=legacy, machine="pc")
    nic = bench.configure(guest, bench.hotplug(guest))
    assert nic.bdf.startswith("0000:00:")
    bench.ping_both_ways(nic)


@DRIVERS
def test_plugged_in_before_power_on(bench: Bench, legacy: bool) -> None:
    """A device that no host took waits on its socket for the QEMU that is started with it."""
    device = bench.hotplug(None)
    socket = {"type": "unix", "path": str(device.socket)}
    with Guest("6.12", legacy=legacy, devices=[{"driver": "vfio-user-pci", "socket": socket}]) as guest:
        bench.ping_both_ways(bench.configure(guest, device))
    bench.dpu.unplug(device)


def test_static_functions_are_there_at_power_on() -> None:
    firmware = {**FIRMWARE, "VIRTIO_NET_EMULATION_NUM_PF": 2, "VIRTIO_NET_EMULATION_PF_PCI_LAYOUT": 1}
    with Dpu(firmware) as dpu:
        bench = Bench(dpu)
        words = shlex.split(bench.softdpu("qemu-args"))
        devices = [json.loads(word) for word in words if word.startswith("{") and "vfio-user-pci" in word]
        with Guest("6.12", legacy=True, devices=devices) as guest:
            assert guest.run("lspci -n | grep -c 1af4:1000").output == "2\n"
            assert guest.run("grep -c virtio-pci-legacy /proc/ioports").output == "2\n"
            shown = dpu.virtnet("query", "-a").json["devices"]
            assert [device["driver_mode"] for device in shown] == ["legacy", "legacy"]
