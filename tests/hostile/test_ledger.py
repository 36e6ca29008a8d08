"""Under load, and beside guests that do wrong, every frame that came in went out or was dropped for a named cause."""

import random
from contextlib import ExitStack

import pytest

from softdpu.datapath import ledger
from softdpu.spec import virtio_net as n
from softdpu.testkit import ALL_FEATURES, BROADCAST, frame
from tests.dpu_under_test import Dpu, Plugged
from tests.small_guest import SmallGuest

TX = 1
EVERY = ALL_FEATURES | n.HOST_OFFLOADS | n.GUEST_OFFLOADS


@pytest.fixture
def devices(own_dpu: Dpu) -> list[Plugged]:
    """On a DPU of their own: an unplugged device takes its part of the ledger along."""
    return [own_dpu.hotplug() for _ in range(3)]


def settle(guest: SmallGuest) -> None:
    """All that the guest sent has been taken."""
    while guest.net.rings[TX].outstanding:
        guest.net.await_used(TX, 5)
        guest.net.transmitters[0].reclaim()


def test_senders_of_a_guest_that_never_drains_are_not_stalled(own_dpu: Dpu, devices: list[Plugged]) -> None:
    """What it has no buffer for is dropped as such, and the rest of the world goes on."""
    with SmallGuest(devices[0]) as sender, SmallGuest(devices[1]) as idle, SmallGuest(devices[2]) as other:
        for guest in (idle, other):
            guest.net.send(frame(BROADCAST, guest.net.mac, b"so that the switch learns"))
        sender.net.drain()
        other.net.drain()
        for number in range(40):
            batch = [frame(idle.net.mac, sender.net.mac, b"%05d" % count) for count in range(50)]
            sender.net.send_batch([*batch, frame(other.net.mac, sender.net.mac, b"beside %d" % number)])
            assert b"beside %d" % number in other.net.receive()
        settle(sender)
        found = own_dpu.all_counters()
        # one of its buffers holds the broadcast of the other guest
        assert sum(found[device.vuid]["drop_no_buffer"] for device in devices) == 40 * 50 - (idle.net.buffers - 1)
        assert ledger.check(found) is None


@pytest.mark.parametrize("seed", range(3))
def test_ledger_closes_whatever_is_sent(own_dpu: Dpu, devices: list[Plugged], seed: int) -> None:
    """Known, unknown, broadcast, too short, too long, header that lies, receivers short of buffers."""
    chance = random.Random(seed)
    with ExitStack() as stack:
        guests = [
            stack.enter_context(SmallGuest(device, memory=16 << 20, wanted=EVERY, buffers=chance.choice((4, 64))))
            for device in devices
        ]
        for _ in range(400):
            guest = chance.choice(guests)
            guest.net.send(*some_frame(chance, guest, chance.choice(guests)), offload=some_offload(chance))
            if chance.random() < 0.3:
                chance.choice(guests).net.drain(0)
        for guest in guests:
            settle(guest)
        found = own_dpu.all_counters()
        assert ledger.check(found) is None
        assert sum(found[device.vuid]["transmitted_frames"] for device in devices) == 400


def some_frame(chance: random.Random, sender: SmallGuest, to: SmallGuest) -> tuple[bytes]:
    destination = chance.choice((to.net.mac, to.net.mac, BROADCAST, bytes.fromhex("02000000fffe")))
    vlan = chance.choice((None, None, 5))
    built = frame(destination, sender.net.mac, chance.randbytes(chance.choice((10, 1400, 3000))), vlan)
    return (built[: chance.choice((len(built), len(built), 13))],)


def some_offload(chance: random.Random) -> bytes:
    lies = n.OFFLOAD.pack(n.NEEDS_CSUM, chance.choice((n.GSO_NONE, n.GSO_TCPV4)), 54, 1448, 34, 16)
    return chance.choice((b"", b"", lies))
