"""Packed rings that cannot be (virtio 1.3 §2.8): the queue stops and the driver is told, or nothing happens at all."""

import random
import threading
from collections.abc import Iterator

import pytest

from softdpu.spec import features as f
from softdpu.testkit import ALL_FEATURES, BROADCAST, PACKED, ModernDriver, PackedRing, frame
from softdpu.testkit.packed import AVAIL, EVENT_DESCRIPTOR, PACKED_DESCRIPTOR, USED, WRAP
from softdpu.testkit.ring import INDIRECT, NEXT, WRITE
from tests.dpu_under_test import Dpu, Plugged
from tests.hostile.conftest import broken, misplace
from tests.small_guest import SmallGuest

RX, TX = 0, 1
FAR = 0x7FFF_0000_0000  # where no guest of these tests has memory
HELLO = frame(BROADCAST, bytes.fromhex("020000000001"), b"hello")
WANTED = ALL_FEATURES | PACKED


@pytest.fixture(scope="module")
def device(dpu: Dpu) -> Iterator[Plugged]:
    """One that offers packed rings."""
    device = dpu.hotplug(features=PACKED)
    yield device
    dpu.unplug(device)


@pytest.fixture
def guest(device: Plugged) -> Iterator[SmallGuest]:
    with SmallGuest(device, ModernDriver, wanted=WANTED) as guest:
        yield guest


@pytest.fixture
def ring(guest: SmallGuest) -> PackedRing:
    return guest.net.packed(TX)


def offer(guest: SmallGuest, *slots: int, queue: int = TX) -> None:
    """Make descriptors available, the first one last, and ring the doorbell, whatever the device asked for."""
    ring = guest.net.packed(queue)
    for slot in slots:
        ring.offer(slot)
    ring.publish()
    guest.net.notify(queue)


def passes_frames(dpu: Dpu, guest: SmallGuest) -> bool:
    """Whether the device still serves this driver."""
    with dpu.representor(guest.device) as outside:
        guest.net.send(HELLO)
        return outside.receive() == HELLO


@pytest.mark.parametrize("marks", [USED, 0], ids=["of_the_next_turn", "never_available"])
def test_descriptor_of_another_turn_is_not_looked_at(dpu: Dpu, guest: SmallGuest, ring: PackedRing, marks: int) -> None:
    """§2.8.1: it is available when AVAIL is as the wrap counter and USED is not."""
    ring.write_descriptor(0, FAR, 64, marks)
    guest.net.notify(TX)
    assert passes_frames(dpu, guest), "the honest one that takes its place is served"
    assert not guest.net.needs_reset


def test_chain_round_the_whole_ring(dpu: Dpu, guest: SmallGuest, ring: PackedRing) -> None:
    """A loop, as far as there can be one: the last descriptor has NEXT as well."""
    place = guest.memory.allocate(64)
    for slot in range(ring.size):
        ring.write_descriptor(slot, place, 64, NEXT)
    offer(guest, *range(ring.size))
    assert "loops" in broken(dpu, guest)


def test_chain_that_goes_on_in_a_descriptor_that_is_not_available(
    dpu: Dpu, guest: SmallGuest, ring: PackedRing
) -> None:
    ring.write_descriptor(0, guest.memory.allocate(64), 64, NEXT)
    offer(guest, 0)
    assert "not available itself" in broken(dpu, guest)


@pytest.mark.parametrize("identity", [300, 0xFFFF])
def test_id_that_is_no_descriptors_number_comes_back_as_it_is(
    guest: SmallGuest, ring: PackedRing, identity: int
) -> None:
    """§2.8.6: the id is the driver's affair."""
    ring.write_descriptor(0, guest.memory.allocate(128), 128, following=identity)
    offer(guest, 0)
    guest.net.await_used(TX, 2)
    assert guest.memory.unpack("QIHH", ring.descriptor)[2] == identity


def test_same_id_for_chains_at_the_same_time(dpu: Dpu, guest: SmallGuest, ring: PackedRing) -> None:
    place = guest.memory.allocate(128)
    for slot in range(8):
        ring.write_descriptor(slot, place, 128, following=3)
    offer(guest, *range(8))
    guest.net.await_used(TX, 2)
    assert not guest.net.needs_reset


@pytest.mark.parametrize(
    ("address", "length"),
    [(FAR, 64), (0, 64), ((1 << 64) - 32, 64), ((1 << 64) - 64, 64)],
    ids=["far_away", "zero", "wraps", "ends_at_the_top"],
)
@pytest.mark.parametrize("queue", [RX, TX], ids=["receive", "transmit"])
def test_address_outside_memory(dpu: Dpu, device: Plugged, queue: int, address: int, length: int) -> None:
    with SmallGuest(device, ModernDriver, wanted=WANTED, buffers=0) as guest, dpu.representor(device) as outside:
        guest.net.packed(queue).write_descriptor(0, address, length, WRITE if queue == RX else 0)
        offer(guest, 0, queue=queue)
        outside.send(HELLO)
        assert "outside the guest's memory" in broken(dpu, guest)


def test_buffer_of_no_bytes(dpu: Dpu, guest: SmallGuest, ring: PackedRing) -> None:
    ring.write_descriptor(0, guest.memory.allocate(64), 0)
    offer(guest, 0)
    assert "no bytes" in broken(dpu, guest)


def test_readable_after_writable_on_the_control_queue(dpu: Dpu, guest: SmallGuest) -> None:
    """§2.8.17"""
    queue, place = guest.net.control_queue, guest.memory.allocate(64)
    ring = guest.net.packed(queue)
    ring.write_descriptor(0, place, 1, NEXT | WRITE)
    ring.write_descriptor(1, place, 8)
    offer(guest, 0, 1, queue=queue)
    assert "follows" in broken(dpu, guest)


def test_receive_buffer_that_cannot_hold_the_header(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device, ModernDriver, wanted=WANTED, buffers=0) as guest, dpu.representor(device) as outside:
        guest.net.packed(RX).write_descriptor(0, guest.memory.allocate(8), 8, WRITE)
        offer(guest, 0, queue=RX)
        outside.send(HELLO)
        assert "header" in broken(dpu, guest)


@pytest.mark.parametrize("length", [0, 1, 15, 17, 0xFFFFFFFF])
def test_indirect_table_of_odd_length(dpu: Dpu, guest: SmallGuest, ring: PackedRing, length: int) -> None:
    ring.write_descriptor(0, guest.memory.allocate(64), length, INDIRECT)
    offer(guest, 0)
    assert "indirect table" in broken(dpu, guest)


def test_indirect_table_outside_memory(dpu: Dpu, guest: SmallGuest, ring: PackedRing) -> None:
    ring.write_descriptor(0, FAR, 16, INDIRECT)
    offer(guest, 0)
    assert "outside the guest's memory" in broken(dpu, guest)


def test_indirect_table_longer_than_any_chain(dpu: Dpu, guest: SmallGuest, ring: PackedRing) -> None:
    """§2.8.19: no longer than the ring."""
    place, entries = guest.memory.allocate(64), 2000
    table = guest.memory.allocate(16 * entries)
    guest.memory.write(table, PACKED_DESCRIPTOR.pack(place, 1, 0, 0) * entries)
    ring.write_descriptor(0, table, 16 * entries, INDIRECT)
    offer(guest, 0)
    assert "more than" in broken(dpu, guest)


def test_flags_but_write_mean_nothing_in_an_indirect_table(dpu: Dpu, guest: SmallGuest, ring: PackedRing) -> None:
    """§2.8.8: so there is no table inside a table."""
    table, place = guest.memory.allocate(64), guest.memory.allocate(128)
    guest.memory.write(place, bytes(guest.net.header) + HELLO)
    entry = PACKED_DESCRIPTOR.pack(place, guest.net.header + len(HELLO), 0, INDIRECT | NEXT)
    guest.memory.write(table, entry)
    ring.write_descriptor(0, table, 16, INDIRECT)
    with dpu.representor(guest.device) as outside:
        offer(guest, 0)
        assert outside.receive() == HELLO


def test_indirect_in_the_middle_of_a_chain(dpu: Dpu, guest: SmallGuest, ring: PackedRing) -> None:
    """§2.8.8"""
    table = guest.memory.allocate(64)
    ring.write_descriptor(0, table, 16, NEXT)
    ring.write_descriptor(1, table, 16, INDIRECT)
    offer(guest, 0, 1)
    assert "NEXT" in broken(dpu, guest)


def test_indirect_that_was_not_negotiated(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device, ModernDriver, wanted=WANTED & ~f.mask_of(f.INDIRECT_DESC)) as guest:
        guest.net.packed(TX).write_descriptor(0, guest.memory.allocate(64), 16, INDIRECT)
        offer(guest, 0)
        assert "not negotiated" in broken(dpu, guest)


@pytest.mark.parametrize("address", [0, FAR, (1 << 64) - 4096], ids=["zero", "far_away", "at_the_top"])
@pytest.mark.parametrize("part", ["queue_desc", "queue_driver", "queue_device"])
def test_ring_part_outside_memory(dpu: Dpu, guest: SmallGuest, part: str, address: int) -> None:
    misplace(guest, TX, part, address)
    assert "outside the guest's memory" in broken(dpu, guest)


@pytest.mark.parametrize("flags", [3, 0xFFFF])
@pytest.mark.parametrize("offset", [0x7FFF, WRAP | 0x7FFF])
def test_event_suppression_of_nonsense_suppresses_nothing_but_interrupts(
    dpu: Dpu, guest: SmallGuest, ring: PackedRing, flags: int, offset: int
) -> None:
    guest.memory.pack("HH", ring.driver, offset, flags)
    with dpu.representor(guest.device) as outside:
        for _ in range(20):
            ring.write_descriptor(ring.position & ~WRAP, guest.memory.allocate(128), 128)
            offer(guest, ring.position & ~WRAP)
            assert len(outside.receive()) >= 60
    assert not guest.net.needs_reset


def test_event_beyond_the_ring(dpu: Dpu, guest: SmallGuest, ring: PackedRing) -> None:
    guest.memory.pack("HH", ring.driver, ring.size + 5, EVENT_DESCRIPTOR)
    assert passes_frames(dpu, guest)


def test_descriptor_rewritten_after_it_was_made_available(dpu: Dpu, guest: SmallGuest, ring: PackedRing) -> None:
    """What is checked is what is used: an address or a length that changes meanwhile reaches nothing new."""
    place, over = guest.memory.allocate(2048), threading.Event()

    def rewrite() -> None:
        chance = random.Random(31)
        while not over.is_set():
            at = ring.descriptor + 16 * chance.randrange(ring.size)
            guest.memory.pack("QI", at, chance.choice((FAR, place, 0)), chance.choice((0, 64, 1 << 31)))

    thread = threading.Thread(target=rewrite)
    thread.start()
    for _ in range(40):
        for slot in range(ring.size):
            ring.write_descriptor(slot, place, 64)
        offer(guest, *range(ring.size))
        if guest.net.needs_reset:
            guest.net.reset()
            guest.net.start()
            ring = guest.net.packed(TX)
    over.set()
    thread.join()
    guest.net.reset()
    guest.net.start()
    assert passes_frames(dpu, guest)


@pytest.mark.parametrize("seed", range(8))
def test_noise_under_traffic(dpu: Dpu, device: Plugged, seed: int) -> None:
    chance = random.Random(seed)
    with (
        SmallGuest(device, ModernDriver, wanted=WANTED, interrupts="none") as guest,
        dpu.representor(device) as outside,
    ):
        for _ in range(10):
            for _ in range(20):
                scribble(guest, chance)
                guest.net.notify(chance.choice(list(guest.net.rings)))
                outside.send(frame(BROADCAST, bytes(6), chance.randbytes(40)))
            guest.net.reset()
            guest.net.start()
        outside.drain(0.02)
        guest.net.send(frame(BROADCAST, guest.net.mac, b"well again"))
        assert any(b"well again" in outside.receive() for _ in range(3))


def scribble(guest: SmallGuest, chance: random.Random) -> None:
    """Overwrite some descriptors and event structures with what is nearly right, or not at all."""
    ring = guest.net.packed(chance.choice(list(guest.net.rings)))
    for _ in range(chance.randrange(1, 12)):
        address = guest.memory.base + chance.randrange(2 * guest.memory.size)
        length, flags = chance.choice((0, 1, 12, 64, 2000, 1 << 31)), chance.choice((AVAIL, USED, 0x81, 0xFFFF))
        flags |= chance.randrange(8)
        ring.write_descriptor(chance.randrange(ring.size), address, length, flags, chance.randrange(9))
    guest.memory.write(ring.driver, chance.randbytes(4))
    guest.memory.write(ring.device, chance.randbytes(4))
