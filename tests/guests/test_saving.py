"""A stock guest's device is saved, stopped, restored and resumed: the guest does not notice."""

from pathlib import Path

import pytest

from tests.guests.bench import Bench, ping
from tests.guests.conftest import Boot

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "modern"])
def test_saved_under_pings_and_restored_while_the_guest_is_paused(
    bench: Bench, boot: Boot, tmp_path: Path, legacy: bool
) -> None:
    guest = boot("6.12", legacy=legacy, root_ports=1)
    nic = bench.configure(guest, bench.hotplug(guest))
    file, device = tmp_path / "state", ("-u", nic.device.vuid)
    pings = guest.begin(f"ping -c 100 -i 0.05 -W 5 {nic.gateway}")
    for _ in range(5):
        bench.softdpu("save", *device, file)
    assert " 0% packet loss" in pings.wait().output
    guest.qmp("stop")
    bench.softdpu("save", *device, "--stop", file)
    bench.softdpu("restore", *device, "--stop", file)
    guest.qmp("cont")
    pings = guest.begin(f"ping -c 20 -i 0.05 -W 20 {nic.gateway}")
    bench.softdpu("resume", *device)
    assert " 0% packet loss" in pings.wait().output
    ping(guest, nic.gateway)
    bench.ping_guest(nic)
