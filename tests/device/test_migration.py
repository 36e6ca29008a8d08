"""A device moves from one function to another over vfio-user, with its guest's memory, while frames are under way.

SOFTDPU_TEST_MIGRATIONS is how often, all kinds of guests together.
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from softdpu.datapath import ledger
from softdpu.spec import features as f
from softdpu.spec.vfio import State
from softdpu.spec.virtio_net import ANNOUNCE
from softdpu.testkit import ALL_FEATURES, BROADCAST, PACKED, Driver, LegacyDriver, ModernDriver, Move, frame
from tests.chatter import Chatter, Flow
from tests.dpu_under_test import Dpu, Plugged
from tests.nomad import Nomad, connected
from tests.small_guest import SmallGuest

PAIRS = 2
GUESTS: dict[str, tuple[type[Driver], dict[str, Any]]] = {
    "legacy-msix": (LegacyDriver, {"interrupts": "msix"}),
    "legacy-intx": (LegacyDriver, {"interrupts": "intx"}),
    "modern-split": (ModernDriver, {"interrupts": "msix"}),
    "modern-packed": (ModernDriver, {"interrupts": "msix", "wanted": ALL_FEATURES | PACKED}),
    "modern-pairs": (ModernDriver, {"interrupts": "msix", "pairs": PAIRS}),
}
MOVES = -(-int(os.environ.get("SOFTDPU_TEST_MIGRATIONS", "8")) // len(GUESTS))
STANDING_STILL = ("not_ready", "no_buffer")  # why frames may be dropped


@pytest.fixture(scope="module")
def dpu() -> Iterator[Dpu]:
    """A DPU of which every port is known."""
    with Dpu() as dpu:
        yield dpu
        assert dpu.own_mistakes() == []


@pytest.fixture
def places(dpu: Dpu) -> Iterator[list[Plugged]]:
    """Two devices of one shape."""
    places = [dpu.hotplug(queues=2 * PAIRS + 1, features=1 << f.RING_PACKED) for _ in range(2)]
    yield places
    for place in places:
        dpu.unplug(place)


@pytest.fixture
def neighbour(dpu: Dpu) -> Iterator[SmallGuest]:
    """A guest that stays where it is."""
    device = dpu.hotplug()
    with SmallGuest(device, ModernDriver, interrupts="none") as guest:
        yield guest
    dpu.unplug(device)


def settled(dpu: Dpu) -> dict[str, dict[str, int]]:
    """The counters of every port, once nothing moves any more."""
    before: dict[str, dict[str, int]] = {}
    while before != (now := dpu.ledgers()):
        before = now
        time.sleep(0.1)
    return now


def dropped(ports: dict[str, dict[str, int]]) -> int:
    """Frames that were dropped so far because a guest stood still, or was slow."""
    causes = ledger.of_all(map(ledger.of_port, ports.values())).dropped
    return sum(causes.get(cause, 0) for cause in STANDING_STILL)


@pytest.mark.parametrize("guest", GUESTS)
def test_no_frame_is_duplicated_reordered_or_lost_without_a_name(
    dpu: Dpu, places: list[Plugged], neighbour: SmallGuest, guest: str
) -> None:
    kind, options = GUESTS[guest]
    chance, before = random.Random(guest), dropped(dpu.ledgers())
    flows = there, back, everywhere = Flow(2), Flow(1), Flow(3)
    with Nomad(places[0], kind, **options) as nomad:
        talker = Chatter(neighbour.net, [(nomad.net.mac, there), (BROADCAST, everywhere)], [back])
        mover = Chatter(nomad.net, [(neighbour.net.mac, back)], [there, everywhere])
        with talker, mover:
            for turn in range(MOVES):
                if chance.random() < 0.25:
                    nomad.set_out(places[1 - turn % 2], mover, chance)
                nomad.move(places[1 - turn % 2], mover, chance)
            time.sleep(0.05)
            talker.quiet.set()
            mover.quiet.set()
            ports = settled(dpu)
        assert (talker.error, mover.error) == (None, None)
        assert nomad.vmm.migration_state == State.RUNNING
        assert mover.heard[back.identity % nomad.net.pairs], "answers come to the pair that was spoken on"
    for flow in flows:
        # What comes to a guest of several pairs may change its queue, and is then heard as the queues are looked at.
        reordered = flow.reordered if flow is back or nomad.net.pairs == 1 else []
        assert (flow.identity, flow.duplicates, reordered) == (flow.identity, [], [])
        assert len(flow.received) > 3 * MOVES
    assert sum(flow.lost for flow in flows) <= dropped(ports) - before
    assert back.lost == 0, "what a guest has sent waits in its ring"
    assert ledger.check(ports) is None
    print(f"{guest}: {MOVES} moves, {[(flow.sent, flow.lost) for flow in flows]} frames sent and lost")


def test_frames_go_to_where_the_device_is_now(places: list[Plugged], neighbour: SmallGuest) -> None:
    """Its neighbours need not hear from its driver first: the device lets them know."""
    with ExitStack() as stack:
        guest, target = stack.enter_context(SmallGuest(places[0])), stack.enter_context(connected(places[1]))
        mac, other = guest.net.mac, neighbour.net
        other.send(frame(BROADCAST, other.mac, b"who is there"))
        guest.net.receive()
        guest.net.send(frame(other.mac, mac, b"I am"))
        other.receive()
        with Move(guest.vmm, guest.memory, target) as move:
            guest.net.moved_to(target, move.move())
        assert other.receive()[12:14] == b"\x80\x35", "a reverse ARP request"
        other.send(frame(mac, other.mac, b"and now?"))
        assert guest.net.receive()[14:22] == b"and now?"


def test_commands_and_settings_go_along(places: list[Plugged]) -> None:
    with SmallGuest(places[0]) as guest, connected(places[1]) as target:
        guest.net.control(0, 0, b"\0")  # not promiscuous
        mac, link, pairs = guest.net.mac, guest.net.config("status"), guest.net.max_pairs
        with Move(guest.vmm, guest.memory, target) as move:
            guest.net.moved_to(target, move.move())
        assert guest.net.status == 15
        assert (guest.net.mac, guest.net.max_pairs) == (mac, pairs)
        assert guest.net.config("status") == link | ANNOUNCE, "it is asked to announce itself"
        assert guest.net.control(0, 0, b"\1") == b"\0"


def test_a_device_in_the_other_place_makes_no_difference(places: list[Plugged]) -> None:
    """What was there before is replaced, with its driver."""
    with Nomad(places[0]) as nomad, Nomad(places[1]) as other:
        with Move(nomad.vmm, nomad.memory, other.vmm) as move:
            move.begin()
            move.stop()
            other.memory.unmap_from(other.vmm)
            nomad.net.moved_to(other.vmm, move.finish())
        assert nomad.net.control(0, 0, b"\1") == b"\0"


def test_another_dpu_goes_on(own_dpu: Dpu, places: list[Plugged]) -> None:
    there = own_dpu.hotplug(queues=2 * PAIRS + 1, features=1 << f.RING_PACKED)
    with Nomad(places[0]) as nomad:
        target = connected(there)
        with Move(nomad.vmm, nomad.memory, target) as move:
            move.begin()
            nomad.net.send(frame(BROADCAST, nomad.net.mac, b"from the old place"))
            move.stop()
            nomad.arrive(move, target)
        with own_dpu.representor(there) as outside:
            nomad.net.send(frame(BROADCAST, nomad.net.mac, b"from the new place"))
            assert any(b"from the new place" in outside.receive() for _ in range(2)), "the first says where it is"
            outside.send(frame(nomad.net.mac, bytes(6), b"and back"))
            assert b"and back" in nomad.net.receive()
