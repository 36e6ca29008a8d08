"""Descriptor chains that cannot be (virtio 1.3 §2.7.5): the queue stops, the driver is told, nobody else notices."""

import pytest

from softdpu.spec import features as f
from softdpu.testkit import ALL_FEATURES, ModernDriver, SplitRing
from softdpu.testkit.ring import DESCRIPTOR, INDIRECT, NEXT, WRITE
from tests.dpu_under_test import Dpu, Plugged
from tests.hostile.conftest import broken
from tests.small_guest import SmallGuest

TX = 1
FAR = 0x7FFF_0000_0000  # where no guest of these tests has memory


def offer(guest: SmallGuest, head: int = 0, queue: int = TX) -> None:
    """Make a chain available and ring the doorbell, whatever the device asked for."""
    ring = guest.net.rings[queue]
    ring.offer(head)
    ring.publish()
    guest.net.notify(queue)


def piece(guest: SmallGuest, length: int = 64) -> int:
    return guest.memory.allocate(length)


@pytest.fixture
def ring(guest: SmallGuest) -> SplitRing:
    return guest.net.split(TX)


def test_descriptor_loop_costs_its_own_queue_only(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    place = piece(guest)
    ring.write_descriptor(0, place, 64, NEXT, 1)
    ring.write_descriptor(1, place, 64, NEXT, 0)
    offer(guest)
    assert "loops" in broken(dpu, guest)


def test_descriptor_that_names_itself(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    ring.write_descriptor(0, piece(guest), 64, NEXT, 0)
    offer(guest)
    assert "loops" in broken(dpu, guest)


@pytest.mark.parametrize("head", [256, 257, 0x8000, 0xFFFF])
def test_head_outside_the_table(dpu: Dpu, guest: SmallGuest, head: int) -> None:
    offer(guest, head)
    assert "256" in broken(dpu, guest)


@pytest.mark.parametrize("following", [256, 0xFFFF])
def test_next_outside_the_table(dpu: Dpu, guest: SmallGuest, ring: SplitRing, following: int) -> None:
    ring.write_descriptor(0, piece(guest), 64, NEXT, following)
    offer(guest)
    assert str(following) in broken(dpu, guest)


@pytest.mark.parametrize(
    ("address", "length"),
    [(FAR, 64), (0, 64), ((1 << 64) - 32, 64), ((1 << 64) - 64, 64)],
    ids=["far_away", "zero", "wraps", "ends_at_the_top"],
)
@pytest.mark.parametrize("queue", [0, TX], ids=["receive", "transmit"])
def test_address_outside_memory(dpu: Dpu, device: Plugged, queue: int, address: int, length: int) -> None:
    with SmallGuest(device, ModernDriver, buffers=0) as guest, dpu.representor(device) as outside:
        guest.net.rings[queue].write_descriptor(0, address, length, WRITE if queue == 0 else 0)
        offer(guest, queue=queue)
        outside.send(bytes.fromhex("ffffffffffff02000000000188b5").ljust(60, b"\0"))
        assert "outside the guest's memory" in broken(dpu, guest)


def test_length_beyond_the_end_of_memory(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    last = guest.memory.base + guest.memory.size - 64
    ring.write_descriptor(0, last, 128)
    offer(guest)
    assert "outside the guest's memory" in broken(dpu, guest)


def test_length_of_four_gigabytes(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    ring.write_descriptor(0, piece(guest), 0xFFFFFFFF)
    offer(guest)
    broken(dpu, guest)


def test_buffer_of_no_bytes(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    ring.write_descriptor(0, piece(guest), 0)
    offer(guest)
    assert "no bytes" in broken(dpu, guest)


def test_readable_after_writable_on_the_control_queue(dpu: Dpu, guest: SmallGuest) -> None:
    """virtio 1.3 §2.7.4.2"""
    queue = guest.net.control_queue
    ring, place = guest.net.rings[queue], piece(guest)
    ring.write_descriptor(0, place, 1, NEXT | WRITE, 1)
    ring.write_descriptor(1, place, 8)
    offer(guest, queue=queue)
    assert "follows" in broken(dpu, guest)


def test_receive_buffer_that_cannot_hold_the_header(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device, ModernDriver, buffers=0) as guest, dpu.representor(device) as outside:
        guest.net.rings[0].write_descriptor(0, piece(guest), 8, WRITE)
        offer(guest, queue=0)
        outside.send(bytes.fromhex("ffffffffffff02000000000188b5").ljust(60, b"\0"))
        assert "header" in broken(dpu, guest)


@pytest.mark.parametrize("length", [0, 1, 15, 17, 0xFFFFFFFF])
def test_indirect_table_of_odd_length(dpu: Dpu, guest: SmallGuest, ring: SplitRing, length: int) -> None:
    ring.write_descriptor(0, piece(guest), length, INDIRECT)
    offer(guest)
    assert "indirect table" in broken(dpu, guest)


def test_indirect_table_outside_memory(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    ring.write_descriptor(0, FAR, 16, INDIRECT)
    offer(guest)
    assert "outside the guest's memory" in broken(dpu, guest)


def test_indirect_inside_indirect(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    """virtio 1.3 §2.7.5.3.1"""
    table = piece(guest)
    guest.memory.write(table, DESCRIPTOR.pack(table, 16, INDIRECT, 0))
    ring.write_descriptor(0, table, 16, INDIRECT)
    offer(guest)
    assert "inside" in broken(dpu, guest)


def test_indirect_and_next(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    table = piece(guest)
    guest.memory.write(table, DESCRIPTOR.pack(table, 64, 0, 0))
    ring.write_descriptor(0, table, 16, INDIRECT | NEXT, 1)
    offer(guest)
    assert "NEXT" in broken(dpu, guest)


def test_loop_inside_an_indirect_table(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    table = piece(guest)
    for index in range(2):
        guest.memory.write(table + 16 * index, DESCRIPTOR.pack(table, 64, NEXT, 1 - index))
    ring.write_descriptor(0, table, 32, INDIRECT)
    offer(guest)
    assert "loops" in broken(dpu, guest)


def test_next_outside_an_indirect_table(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    table = piece(guest)
    guest.memory.write(table, DESCRIPTOR.pack(table, 64, NEXT, 1))
    ring.write_descriptor(0, table, 16, INDIRECT)
    offer(guest)
    broken(dpu, guest)


def test_indirect_that_was_not_negotiated(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device, ModernDriver, wanted=ALL_FEATURES & ~f.mask_of(f.INDIRECT_DESC)) as guest:
        table = piece(guest)
        guest.memory.write(table, DESCRIPTOR.pack(table, 64, 0, 0))
        guest.net.rings[TX].write_descriptor(0, table, 16, INDIRECT)
        offer(guest)
        assert "not negotiated" in broken(dpu, guest)


def test_every_bad_chain_is_counted(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    before = dpu.counters(guest.device)["queue_faults"]
    ring.write_descriptor(0, FAR, 64)
    offer(guest)
    broken(dpu, guest)
    assert dpu.counters(guest.device)["queue_faults"] == before + 1


def test_device_works_again_after_reset(dpu: Dpu, guest: SmallGuest, ring: SplitRing) -> None:
    ring.write_descriptor(0, FAR, 64)
    offer(guest)
    broken(dpu, guest)
    guest.net.reset()
    guest.net.start()
    with dpu.representor(guest.device) as outside:
        guest.net.send(bytes.fromhex("ffffffffffff02000000000188b5").ljust(60, b"\0"))
        assert outside.receive()
