"""VFs in stock guests: each on a socket of its own, as VFIO would show them."""

from collections.abc import Iterator
from typing import Any

import pytest

from softdpu.lab import Guest
from tests.dpu_under_test import Dpu, Plugged
from tests.guests.bench import Bench
from tests.vfs import SETTINGS, function, listed, set_vfs

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]


@pytest.fixture
def vfs() -> Iterator[Bench]:
    """A DPU whose first PF has two VFs."""
    with Dpu(SETTINGS) as dpu:
        set_vfs(dpu, 0, 2)
        yield Bench(dpu)
        assert dpu.own_mistakes() == []


def passed_on(device: Plugged) -> dict[str, Any]:
    return {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": str(device.socket)}}


@pytest.mark.parametrize("kernel", ["6.1", "7.3"])
def test_two_vfs_in_a_guest(vfs: Bench, kernel: str) -> None:
    """Modern ids, MSI-X in use, frames both ways by each; one with fewer vectors than queues too."""
    vfs.dpu.virtnet("modify", "-p", 0, "-v", 1, "device", "-n", 2, "-qp", 2)
    first, second = (function(vfs.dpu, "VF", number) for number in range(2))
    with Guest(kernel, devices=[passed_on(first), passed_on(second)]) as guest:
        for network, device in (("192.0.2", first), ("198.51.100", second)):
            vfs.dpu.ip("addr", "add", f"{network}.1/24", "dev", device.representor)
            nic = vfs.configure(guest, device, network)
            ids = guest.run(f"cd /sys/bus/pci/devices/{nic.bdf}; cat vendor device", check=True).output
            assert ids.split() == ["0x1af4", "0x1041"]
            guest.run(f"ping -c 3 -i 0.2 -W 5 {network}.1", check=True)
            assert vfs.dpu.query(device)["driver_mode"] == "modern"
        assert [shown["vmm"] for shown in listed(vfs.dpu)] == ["connected", "connected"]
