"""What a stock driver asks to receive (virtio 1.3 §5.1.6.5.1-4): frames come from the representor, and drops tell."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from softdpu.lab import Guest
from softdpu.testkit import frame
from tests.dpu_under_test import Representor
from tests.guests.bench import Bench, Nic
from tests.waiting import until

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]

MANY = 20  # frames, so that what the guest and the network say on their own does not count
SENDER = bytes.fromhex("02000000fffe")
STRANGER = bytes.fromhex("020000000099")
GROUP = bytes.fromhex("01005e010203")
SOLICITED = bytes.fromhex("3333ff000002")  # the group of fd00::2, which the kernel joins
ARP = b"\x08\x06"


@pytest.fixture(scope="module")
def nic(bench: Bench) -> Iterator[Nic]:
    """A guest with a modern device; one for all, since each test says what it wants."""
    with Guest("7.3", root_ports=1) as guest, ExitStack() as stack:
        bench.attach(guest)
        stack.callback(bench.detach, guest)
        nic = bench.configure(guest, bench.hotplug(guest, legacy=False))
        guest.run(f"ip addr add fd00::2/64 dev {nic.name}; modprobe 8021q", check=True)
        yield nic


@pytest.fixture
def representor(bench: Bench, nic: Nic) -> Iterator[Representor]:
    with bench.dpu.representor(nic.device) as representor:
        yield representor


class Refused:
    """Counts what was refused for a cause, of ``MANY`` frames that are sent to the guest."""

    def __init__(self, bench: Bench, nic: Nic, representor: Representor) -> None:
        self.bench, self.nic, self.representor = bench, nic, representor

    def __call__(self, to: bytes, vlan: int | None = None, cause: str = "filtered") -> bool:
        """Whether frames to an address are refused, all of them; else none may be."""
        before = self._counters()
        for number in range(MANY):
            self.representor.send(frame(to, SENDER, b"%d" % number, vlan))
        while (after := self._counters())["representor_in_frames"] - before["representor_in_frames"] < MANY:
            time.sleep(0.01)
        refused = after[f"drop_{cause}"] - before[f"drop_{cause}"]
        assert refused >= MANY or refused < MANY // 2, f"{refused} of {MANY} frames"
        return refused >= MANY

    def _counters(self) -> dict[str, int]:
        return self.bench.dpu.counters(self.nic.device)


@pytest.fixture
def refused(bench: Bench, nic: Nic, representor: Representor) -> Refused:
    return Refused(bench, nic, representor)


@contextmanager
def told(nic: Nic, command: str, back: str) -> Iterator[None]:
    """The guest is told something for a while."""
    nic.guest.run(command.format(nic.name), check=True)
    try:
        yield
    finally:
        nic.guest.run(back.format(nic.name), check=True)


def test_a_driver_receives_what_is_for_it(nic: Nic, refused: Refused) -> None:
    assert not refused(nic.device.mac)
    assert refused(STRANGER)


# ---- modes: Linux has a work item tell the device of another one, and the command in the guest returns before


def test_in_promiscuous_mode_it_receives_all(nic: Nic, refused: Refused) -> None:
    with told(nic, "ip link set {} promisc on", "ip link set {} promisc off"):
        until(lambda: not refused(STRANGER))
        assert not refused(GROUP)
    until(lambda: refused(STRANGER))


def test_groups_are_those_it_joined(nic: Nic, refused: Refused) -> None:
    assert not refused(SOLICITED)
    assert refused(GROUP)
    with told(nic, "ifconfig {} allmulti", "ifconfig {} -allmulti"):
        until(lambda: not refused(GROUP))
        assert refused(STRANGER)
    until(lambda: refused(GROUP))


def test_another_address_of_its_own(nic: Nic, refused: Refused) -> None:
    other, own = STRANGER.hex(":"), nic.device.mac.hex(":")
    with told(nic, f"ip link set {{}} address {other}", f"ip link set {{}} address {own}"):
        assert not refused(STRANGER)
        assert refused(nic.device.mac)
    assert not refused(nic.device.mac)


def test_vlans_are_those_it_has(nic: Nic, refused: Refused) -> None:
    assert refused(nic.device.mac, vlan=8, cause="vlan")
    with told(nic, "ip link add link {} name vlan8 type vlan id 8 && ip link set vlan8 up", "ip link del vlan8"):
        assert not refused(nic.device.mac, vlan=8, cause="vlan")
        assert refused(nic.device.mac, vlan=9, cause="vlan")
    assert refused(nic.device.mac, vlan=8, cause="vlan")


def test_a_guest_whose_port_moved_makes_itself_known(bench: Bench, nic: Nic, representor: Representor) -> None:
    """The representor joins a bridge: the guest is asked to announce itself, does so, and says that it has."""
    dpu, before = bench.dpu, bench.dpu.counters(nic.device)
    dpu.ip("link", "add", "br7", "type", "bridge")
    try:
        dpu.ip("link", "set", nic.device.representor, "master", "br7")
        while not gratuitous(representor.receive(20), nic):
            pass
        while dpu.counters(nic.device)["queue2_commands_ok"] == before["queue2_commands_ok"]:
            time.sleep(0.05)  # it says so after it has done it
    finally:
        dpu.ip("link", "set", nic.device.representor, "nomaster")
        dpu.ip("link", "del", "br7")


def gratuitous(frame: bytes, nic: Nic) -> bool:
    """Whether it is an ARP request by which the guest tells its own address."""
    address = bytes(map(int, nic.address.split(".")))
    return frame[12:14] == ARP and frame[28:32] == frame[38:42] == address
