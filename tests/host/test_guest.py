"""What the budget promises, a stock Linux guest keeps: the rules of I/O windows and of unplug, with a real kernel."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from softdpu.host.qemu import QemuHost
from softdpu.lab import Guest
from softdpu.pci.windows import MOST_WINDOWS, PLACES_A_WINDOW, NoIoWindow
from tests.dpu_under_test import Dpu
from tests.host.machines import attached

pytestmark = pytest.mark.guest

NIC = {"driver": "virtio-net-pci-transitional", "host_mtu": 1500}  # with the MTU its I/O BAR has 64 bytes, else 32
LEGACY = "grep -c virtio-pci-legacy /proc/ioports"


@pytest.fixture
def many_ports() -> Iterator[Guest]:
    with Guest(kernel="6.12", legacy=True, root_ports=MOST_WINDOWS + 2) as guest:
        yield guest


@pytest.fixture
def one_bridge() -> Iterator[Guest]:
    with Guest(kernel="6.12", legacy=True, bridges=1) as guest:
        yield guest


@asynccontextmanager
async def host_of(guest: Guest) -> AsyncIterator[QemuHost]:
    async with attached(guest.qmp_path) as host:
        yield host


async def test_every_place_of_the_ports_works_and_the_next_is_refused(many_ports: Guest) -> None:
    """q35 with 16 ports: 14 windows, so 14 legacy devices, and no fifteenth."""
    async with host_of(many_ports) as host:
        budget = await host.budget()
        assert budget.windows == budget.free == MOST_WINDOWS
        assert windows_in(many_ports) == MOST_WINDOWS
        for number in range(MOST_WINDOWS):
            await host.add(f"d{number}", NIC, transitional=True)
        many_ports.wait_for(f"[ $({LEGACY}) = {MOST_WINDOWS} ]")
        with pytest.raises(NoIoWindow, match=f"{MOST_WINDOWS} used, 0 free"):
            await host.add("one-more", NIC, transitional=True)
        assert (await host.add("modern", {"driver": "virtio-net-pci-non-transitional"}, transitional=False)).bus


async def test_every_place_of_a_bridge_works_and_the_next_is_refused_rightly(one_bridge: Guest) -> None:
    """One conventional bridge: 16 legacy devices; the kernel has no ports for a device plugged past our refusal."""
    async with host_of(one_bridge) as host:
        for number in range(PLACES_A_WINDOW):
            assert (await host.add(f"d{number}", NIC, transitional=True)).bus == "bridge1"
        one_bridge.wait_for(f"[ $({LEGACY}) = {PLACES_A_WINDOW} ]")
        with pytest.raises(NoIoWindow, match=f"{PLACES_A_WINDOW} used, 0 free"):
            await host.add("one-more", NIC, transitional=True)
    one_bridge.plug({**NIC, "id": "one-more", "bus": "bridge1", "addr": "0x1f"})
    one_bridge.wait_for(r"dmesg | grep -q 'BAR 0 \[io  size 0x00.*no space'")
    assert one_bridge.run(LEGACY).output.strip() == str(PLACES_A_WINDOW)


async def test_intx_only_function_comes_and_goes(own_dpu: Dpu) -> None:
    """Without MSI-X even this QEMU unplugs a vfio-user device: three times over, in the same port."""
    device = own_dpu.hotplug(vectors=0)
    with Guest(kernel="6.12", legacy=True, root_ports=1) as guest:
        async with host_of(guest) as host:
            for _ in range(3):
                placement = await host.plug(device.socket, device.vuid, transitional=True, vectors=0)
                assert placement.caution is None
                guest.wait_for(f"[ $({LEGACY}) = 1 ]")
                assert await host.address(device.vuid) == "01:00.0"
                await host.unplug(device.vuid, vectors=0, timeout=20)
                assert await host.devices() == ()
                assert guest.run(LEGACY).output.strip() == "0"


def windows_in(guest: Guest) -> int:
    """4 KiB bridge windows in the guest's own list of ports."""
    listing = guest.run("cat /proc/ioports", check=True).output
    ranges = re.findall(r"([0-9a-f]+)-([0-9a-f]+) : PCI Bus 0000:(?!00)", listing)
    return sum((int(last, 16) + 1 - int(first, 16)) // 4096 for first, last in ranges)
