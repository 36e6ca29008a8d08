"""Every frame that came in went out or has a named cause, exactly, after guests did their worst to each other."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from softdpu.datapath import ledger
from softdpu.spec import virtio_net as net
from softdpu.testkit import BROADCAST, LegacyDriver, ModernDriver, frame
from tests.dpu_under_test import Dpu
from tests.small_guest import SmallGuest

STRANGER = bytes.fromhex("02000000beef")
FAR = 0x7FFF_0000_0000  # where no guest of these tests has memory
ROUNDS = 6
CAUSES = {
    "no_buffer",
    "filtered",
    "vlan",
    "link_down",
    "too_long",
    "too_short",
    "bad_header",
    "representor_down",
    "not_ready",
}


@pytest.fixture(scope="module")
def dpu() -> Iterator[Dpu]:
    """A DPU of which every port is known."""
    with Dpu() as dpu:
        yield dpu
        assert dpu.own_mistakes() == []


@pytest.fixture
def guests(dpu: Dpu) -> Iterator[list[SmallGuest]]:
    """Four guests: two legacy, two modern."""
    kinds = (ModernDriver, LegacyDriver, ModernDriver, LegacyDriver)
    with ExitStack() as stack:
        yield [stack.enter_context(SmallGuest(dpu.hotplug(), kind)) for kind in kinds]


def storm(guest: SmallGuest, others: list[SmallGuest]) -> None:
    """What a guest may send that reaches nobody, somebody, or everybody."""
    own = guest.net.mac
    tagged = frame(BROADCAST, own, b"in another VLAN", 8)
    guest.net.send_batch([frame(BROADCAST, own, bytes(size)) for size in range(40, 700, 20)])
    guest.net.send_batch([frame(other.net.mac, own, bytes(1400)) for other in others] * 20)
    guest.net.send_batch([frame(STRANGER, own, b"unknown"), frame(own, own, b"myself"), bytes(13), tagged] * 5)
    guest.net.send_batch([frame(other.net.mac, own, bytes(1700)) for other in others])
    guest.net.send_batch([frame(bytes([1, 0, 0x5E, 0, 0, 9]), own, b"multicast")] * 10)
    guest.net.send(frame(BROADCAST, own, b"cut me, though I say not where"), offload=b"\0\1")


def settled(dpu: Dpu) -> dict[str, dict[str, int]]:
    """The counters of every port, once nothing moves any more."""
    deadline = time.monotonic() + 20
    before: dict[str, dict[str, int]] = {}
    now = dpu.ledgers()
    while before != now:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        before, now = now, dpu.ledgers()
    return now


def test_ledger_closes_after_a_storm(dpu: Dpu, guests: list[SmallGuest]) -> None:
    flapping, deaf = guests[3], guests[2].device
    for guest in guests:
        assert guest.net.control(net.CTRL_RX, net.CTRL_RX_PROMISC, b"\0") == net.OK
    assert guests[1].net.control(net.CTRL_VLAN, net.CTRL_VLAN_ADD, (7).to_bytes(2, "little")) == net.OK
    idle = dpu.hotplug()  # a device without a driver
    for turn in range(ROUNDS):
        dpu.modify(flapping.device, link=turn % 2)
        dpu.ip("link", "set", deaf.representor, "down" if turn % 2 else "up")
        for guest in guests:
            storm(guest, [other for other in guests if other is not guest])
        with dpu.representor(idle) as outside:
            outside.send(frame(idle.mac, STRANGER, b"is nobody there"))
        with dpu.representor(guests[0].device) as outside:
            for _ in range(50):
                outside.send(frame(guests[0].device.mac, STRANGER, bytes(900)))
    ports = settled(dpu)
    assert len(ports) == 5
    assert ledger.check(ports) is None
    total = ledger.of_all(map(ledger.of_port, ports.values()))
    assert total.missing == 0
    assert total.dropped.keys() >= CAUSES
    assert min(total.came_in, total.copies, total.went_out) > 100


def test_ledger_closes_when_a_guest_breaks_its_ring(dpu: Dpu) -> None:
    """A descriptor outside memory: the frame that it was to be is counted, and the frames before it went out."""
    with SmallGuest(dpu.hotplug()) as guest, SmallGuest(dpu.hotplug()) as other:
        guest.net.send(frame(BROADCAST, guest.net.mac, b"good"))
        assert other.net.receive()
        before = dpu.counters(guest.device)["drop_bad_descriptor"]
        ring = guest.net.split(1)
        ring.write_descriptor(0, FAR, 64, 0, 0)
        ring.offer(0)
        ring.publish()
        guest.net.notify(1)
        ports = settled(dpu)
        assert dpu.counters(guest.device)["drop_bad_descriptor"] == before + 1
        assert ledger.check(ports) is None
