"""A guest may restart in any way: its device is as new, and works again."""

from pathlib import Path

import pytest

from softdpu.lab import Guest
from tests.guests.bench import CYCLES, Bench
from tests.guests.conftest import Boot

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

DRIVERS = pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "modern"])


@DRIVERS
@pytest.mark.parametrize("kernel", ["6.1", "6.12", "7.3"])
def test_reboot_and_reset(bench: Bench, boot: Boot, kernel: str, legacy: bool) -> None:
    guest = boot(kernel, legacy=legacy, root_ports=1)
    device = bench.hotplug(guest)
    bench.ping_both_ways(bench.configure(guest, device))
    for restart in (guest.reboot, guest.system_reset):
        restart()
        bench.ping_both_ways(bench.configure(guest, device))


@DRIVERS
def test_unbinding_and_binding_leaks_nothing(bench: Bench, boot: Boot, legacy: bool) -> None:
    """Virtio 1.3 §3.1.1: each driver finds a device that has forgotten the one before."""
    guest = boot("6.12", legacy=legacy, root_ports=1)
    nic = bench.configure(guest, bench.hotplug(guest))
    bind_again(guest, nic.bdf, nic.address, nic.gateway, 2)  # whatever is made once is made now
    before, memory_before = held(bench), bench.dpu.resident()
    bind_again(guest, nic.bdf, nic.address, nic.gateway, CYCLES)
    assert held(bench) == before
    assert bench.dpu.resident() - memory_before < 256 << 10


def held(bench: Bench) -> tuple[int, int, int]:
    """Descriptors and mappings of the datapath, and descriptors of the controller."""
    assert bench.dpu.controller is not None
    return bench.dpu.fds(), bench.dpu.mappings(), len(list(Path(f"/proc/{bench.dpu.controller.pid}/fd").iterdir()))


def bind_again(guest: Guest, bdf: str, address: str, gateway: str, times: int) -> None:
    """Takes the driver from the device and gives it back, and pings, so many times.

    Linux puts a link into use a moment after it was set up, by a worker of its own, and drops what is sent before.
    """
    script = f"""
        cd /sys/bus/pci/drivers/virtio-pci
        for i in $(seq {times}); do
            echo {bdf} >unbind && echo {bdf} >bind || exit 1
            eth=$(ls {bdf}/virtio*/net) && ip addr add {address}/24 dev $eth && ip link set $eth up || exit 2
            until grep -q up /sys/class/net/$eth/operstate; do :; done; ip link show $eth >/dev/null
            ping -c 1 -W 5 {gateway} >/tmp/ping || {{ echo round $i; cat /tmp/ping; exit 3; }}
        done
    """
    guest.run(script, timeout=60 + 5 * times, check=True)


@DRIVERS
def test_the_next_qemu_on_the_same_device(bench: Bench, legacy: bool) -> None:
    """A guest that was switched off without warning leaves nothing that the next one would find."""
    device = bench.hotplug(None)
    socket = {"type": "unix", "path": str(device.socket)}
    for _ in range(2):
        with Guest("6.12", legacy=legacy, devices=[{"driver": "vfio-user-pci", "socket": socket}]) as guest:
            bench.ping_both_ways(bench.configure(guest, device))
    bench.dpu.unplug(device)
