"""Rings full of noise: whatever a guest's memory holds, the device gives up on that guest or serves it; no more."""

import random
import time

import pytest

from softdpu.testkit import BROADCAST, Driver, LegacyDriver, ModernDriver, frame
from tests.dpu_under_test import Dpu, Plugged
from tests.small_guest import SmallGuest

SEEDS = range(12)


def scribble(guest: SmallGuest, chance: random.Random) -> None:
    """Overwrite a part of the rings with bytes that are nearly right, or not at all."""
    ring = chance.choice(list(guest.net.rings.values()))
    start = chance.choice((ring.descriptor, ring.driver, ring.device))
    for _ in range(chance.randrange(1, 64)):
        place = start + chance.randrange(16 * ring.size // 8)
        guest.memory.write(place, chance.choice((chance.randbytes(1), b"\0", b"\1", b"\xff")))
    for descriptor in range(chance.randrange(8)):
        address = guest.memory.base + chance.randrange(2 * guest.memory.size)
        length, flags = chance.choice((0, 1, 10, 64, 2000, 1 << 31)), chance.randrange(8)
        ring.write_descriptor(descriptor, address, length, flags, chance.randrange(ring.size + 8))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", [LegacyDriver, ModernDriver])
def test_noise_in_rings_under_traffic(dpu: Dpu, device: Plugged, kind: type[Driver], seed: int) -> None:
    chance = random.Random(seed)
    with SmallGuest(device, kind, interrupts="none") as guest, dpu.representor(device) as outside:
        for _ in range(15):
            for _ in range(20):
                scribble(guest, chance)
                queue = chance.choice(list(guest.net.rings))
                ring = guest.net.rings[queue]
                ring.offer(chance.randrange(ring.size + 2))
                ring.publish()
                guest.net.notify(queue)
                outside.send(frame(BROADCAST, bytes(6), chance.randbytes(40)))
            guest.net.reset()
            guest.net.start()
        outside.drain(0.02)
        guest.net.send(frame(BROADCAST, guest.net.mac, b"well again"))
        assert any(b"well again" in outside.receive() for _ in range(3))


def test_three_parts_of_a_ring_in_one_place(dpu: Dpu, guest: SmallGuest) -> None:
    net = guest.net
    assert isinstance(net, ModernDriver)
    net.reset_queue(1)
    net.set("queue_select", 1)
    place = guest.memory.allocate(1 << 14, 4096)
    for name in ("queue_desc", "queue_driver", "queue_device"):
        net.set(name, place)
    net.set("queue_enable", 1)
    for value in range(50):
        guest.memory.write(place, value.to_bytes(2, "little") * 64)
        net.notify(1)
    time.sleep(0.05)
    net.reset()
    net.start()
    with dpu.representor(guest.device) as outside:
        net.send(frame(BROADCAST, net.mac, b"well again"))
        assert b"well again" in outside.receive()


def test_two_queues_in_the_same_ring(dpu: Dpu, guest: SmallGuest) -> None:
    """What one queue uses, the other finds used: frames may be lost, nothing else."""
    net = guest.net
    assert isinstance(net, ModernDriver)
    receive = net.rings[0]
    net.reset_queue(1)
    net.set("queue_select", 1)
    net.place_queue(receive)
    with dpu.representor(guest.device) as outside:
        for _ in range(100):
            outside.send(frame(BROADCAST, bytes(6)))
            net.notify(1)
            net.notify(0)
    net.reset()
    net.start()
    assert net.link_up


def test_receive_buffers_that_are_the_ring_itself(dpu: Dpu, device: Plugged) -> None:
    """The device writes frames over its own descriptors, as the driver asked for."""
    with SmallGuest(device, ModernDriver, buffers=0) as guest, dpu.representor(device) as outside:
        ring = guest.net.rings[0]
        for index in range(ring.size):
            ring.write_descriptor(index, ring.descriptor, 2048, flags=2)
            ring.offer(index)
        ring.publish()
        guest.net.notify(0)
        for number in range(300):
            outside.send(frame(BROADCAST, bytes(6), number.to_bytes(2) * 30))
        time.sleep(0.05)
        guest.net.reset()
        guest.net.start()
        assert guest.net.link_up
