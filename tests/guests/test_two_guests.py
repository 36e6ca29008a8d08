"""Guests reach each other through the built-in switch, and one's end is not another's."""

import re

import pytest

from softdpu.lab import Guest
from tests.guests.bench import CYCLES, Bench, ping
from tests.guests.conftest import Boot

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

SIZE = 4 << 20
KILLS = max(2, CYCLES // 10)


def pair(bench: Bench, boot: Boot, first: bool, second: bool) -> tuple[Guest, Guest]:
    """Two guests on one network, .2 and .3, each driven as legacy device or not."""
    guests = boot("6.12", legacy=first, root_ports=1), boot("6.1", legacy=second, root_ports=1)
    for host, guest in enumerate(guests, start=2):
        bench.configure(guest, bench.hotplug(guest), "192.0.2", host)
    return guests


@pytest.mark.parametrize("legacy", [(True, True), (True, False), (False, False)], ids=["both", "one", "none"])
def test_guests_ping_each_other(bench: Bench, boot: Boot, legacy: tuple[bool, bool]) -> None:
    one, other = pair(bench, boot, *legacy)
    ping(one, "192.0.2.3")
    ping(other, "192.0.2.2")
    ping(one, "192.0.2.3", size=1472)


def test_tcp_arrives_as_it_was_sent(bench: Bench, boot: Boot) -> None:
    one, other = pair(bench, boot, True, False)
    for sender, receiver, address in ((one, other, "192.0.2.3"), (other, one, "192.0.2.2")):
        receiver.begin("nc -l -p 9000 -e sha256sum")
        receiver.wait_for("netstat -ltn | grep :9000")
        send = f"head -c {SIZE} /dev/urandom >/tmp/sent; nc {address} 9000 </tmp/sent; sha256sum </tmp/sent"
        theirs, ours = sender.run(send, timeout=120, check=True).output.splitlines()
        assert theirs == ours


def test_killed_qemus_do_not_disturb_the_other_guest(bench: Bench, boot: Boot) -> None:
    device = bench.hotplug(None)
    socket = {"type": "unix", "path": str(device.socket)}
    survivor = boot("6.12", legacy=True, root_ports=1)
    nic = bench.configure(survivor, bench.hotplug(survivor))
    pings = Pings(survivor, nic.gateway)
    for _ in range(KILLS):
        with Guest("6.1", legacy=True, devices=[{"driver": "vfio-user-pci", "socket": socket}]) as victim:
            other = bench.configure(victim, device)
            victim.begin(f"ping -i 0.01 {other.gateway}")
            bench.ping_guest(other)
    bench.dpu.unplug(device)
    pings.all_came_back()


def test_a_controller_that_is_killed_and_restarted_loses_no_packet(bench: Bench, boot: Boot) -> None:
    guest = boot("6.12", legacy=True, root_ports=1)
    nic = bench.configure(guest, bench.hotplug(guest))
    carrier = guest.run(f"cat /sys/class/net/{nic.name}/carrier_changes").output
    pings = Pings(guest, nic.gateway)
    for _ in range(KILLS):
        bench.dpu.restart_controller()
    pings.all_came_back()
    assert guest.run(f"cat /sys/class/net/{nic.name}/carrier_changes").output == carrier
    assert bench.dpu.query(nic.device)["driver_mode"] == "legacy"


class Pings:
    """Fifty pings a second from a guest until asked how it went."""

    def __init__(self, guest: Guest, address: str) -> None:
        self.guest = guest
        self.job = guest.begin(f"exec ping -i 0.02 -W 5 {address}")

    def all_came_back(self) -> None:
        """Stops; each ping up to the last that was answered must have been answered: the others may be on their way."""
        self.guest.run("killall -INT ping", check=True)
        said = self.job.wait(10).output
        answered = [int(number) for number in re.findall(r"seq=(\d+)", said)]
        assert sorted(answered) == list(range(len(answered))), said[-500:]
        assert len(answered) > 10
