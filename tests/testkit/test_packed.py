"""The driver's end of a packed ring (virtio 1.3 §2.8)."""

from collections.abc import Iterator

import pytest

from softdpu.testkit import Buffer, DeviceBroke, GuestMemory, PackedRing, RingFull
from softdpu.testkit.packed import AVAIL, NOBODY, USED, WRAP
from tests.testkit.device_side import DeviceSide

SIZE = 6  # §2.8.10.1: any size, not only powers of two


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with GuestMemory(1 << 20) as memory:
        yield memory


@pytest.fixture
def ring(memory: GuestMemory) -> PackedRing:
    return PackedRing(memory, SIZE)


def piece(memory: GuestMemory, data: bytes) -> Buffer:
    address = memory.allocate(len(data))
    memory.write(address, data)
    return Buffer(address, len(data))


def test_chain_arrives_whole(memory: GuestMemory, ring: PackedRing) -> None:
    ring.add([piece(memory, b"one "), piece(memory, b"two "), piece(memory, b"three")])
    ring.publish()
    assert DeviceSide.of(ring).drain() == b"one two three"


def test_indirect_chain_takes_one_descriptor(memory: GuestMemory, ring: PackedRing) -> None:
    """§2.8.8: the table's length says how many there are, no NEXT."""
    ring.add([piece(memory, b"one "), piece(memory, b"two")], indirect=True)
    ring.publish()
    assert ring.free == SIZE - 1
    assert DeviceSide.of(ring).drain() == b"one two"


def test_id_stands_in_the_last_descriptor_alone(memory: GuestMemory, ring: PackedRing) -> None:
    """§2.8.6"""
    name = ring.add([piece(memory, b"a"), piece(memory, b"b"), piece(memory, b"c")])
    ids = [memory.unpack("QIHH", ring.descriptor + 16 * slot)[2] for slot in range(3)]
    assert ids == [NOBODY, NOBODY, name]


def test_nothing_is_visible_before_publish(memory: GuestMemory, ring: PackedRing) -> None:
    ring.add([piece(memory, b"x")])
    assert DeviceSide.of(ring).pop() is None


def test_wrap_counter_flips_with_every_turn(memory: GuestMemory, ring: PackedRing) -> None:
    """§2.8.1: a descriptor is available when AVAIL is as the counter and USED is not."""
    device, buffer = DeviceSide.of(ring), piece(memory, b"x")
    seen = []
    for _ in range(2 * SIZE):
        slot = ring.position & ~WRAP
        ring.add([buffer])
        ring.publish()
        seen.append(ring.flags_of(slot) & (AVAIL | USED))
        device.drain()
        assert ring.take()
    assert seen == [AVAIL] * SIZE + [USED] * SIZE


def test_chains_go_round_the_end_of_the_ring(memory: GuestMemory, ring: PackedRing) -> None:
    device, buffer = DeviceSide.of(ring), piece(memory, b"x")
    for _ in range(1000):
        ring.add([buffer] * 4)
        ring.publish()
        assert device.drain() == b"xxxx"
        assert ring.take() is not None
    assert (ring.free, ring.outstanding) == (SIZE, 0)
    assert ring.position == 4000 % SIZE | (0 if 4000 // SIZE % 2 else WRAP)


def test_chains_may_be_used_in_any_order(memory: GuestMemory, ring: PackedRing) -> None:
    """§2.8.4: where a chain is used is not where it was made available."""
    device = DeviceSide.of(ring)
    for data in (b"one", b"two"):
        ring.add([piece(memory, data), Buffer(memory.allocate(9), 9, writable=True)])
    ring.publish()
    first, second = device.pop(), device.pop()
    assert first and second
    device.push(second[0], 9)
    device.push(first[0], 1)
    taken = [ring.take(), ring.take()]
    assert [entry and entry[1] for entry in taken] == [9, 1]
    assert [entry and memory.read(entry[0].buffers[0].address, 3) for entry in taken] == [b"two", b"one"]


def test_chain_that_an_in_order_device_passed_over_counts_as_full(memory: GuestMemory) -> None:
    """§2.8.10: one used descriptor a batch, at the place of its first, with the id of its last."""
    ring = PackedRing(memory, SIZE, in_order=True)
    device = DeviceSide.of(ring)
    for _ in range(2):
        ring.add([Buffer(memory.allocate(16), 16, writable=True)] * 2)
    ring.publish()
    popped = device.pop()
    assert popped
    device.skip(popped[0])
    device.fill(b"last")
    assert [taken[1] for taken in iter(ring.take, None)] == [32, 4]
    assert ring.free == SIZE


def test_full_ring_is_refused(memory: GuestMemory, ring: PackedRing) -> None:
    buffer = piece(memory, b"x")
    ring.add([buffer] * 5)
    with pytest.raises(RingFull, match="2 descriptors wanted, 1 of 6 free"):
        ring.add([buffer] * 2)


def test_used_id_that_was_not_offered_is_noticed(memory: GuestMemory, ring: PackedRing) -> None:
    name = ring.add([piece(memory, b"x")])
    ring.publish()
    DeviceSide.of(ring).push(name + 1, 0)
    with pytest.raises(DeviceBroke, match="does not hold"):
        ring.take()


def test_more_written_than_there_was_room_is_noticed(memory: GuestMemory, ring: PackedRing) -> None:
    name = ring.add([Buffer(memory.allocate(16), 16, writable=True)])
    ring.publish()
    DeviceSide.of(ring).push(name, 17)
    with pytest.raises(DeviceBroke, match="17 bytes into a chain with room for 16"):
        ring.take()


def test_length_without_write_says_nothing(memory: GuestMemory, ring: PackedRing) -> None:
    """§2.8.7"""
    ring.add([piece(memory, b"x")])
    ring.publish()
    DeviceSide.of(ring).drain()
    memory.pack("I", ring.descriptor + 8, 999)
    taken = ring.take()
    assert taken and taken[1] == 0


def test_no_kick_while_the_device_suppresses_it(memory: GuestMemory, ring: PackedRing) -> None:
    device = DeviceSide.of(ring)
    kicks = []
    for suppressed in (True, False):
        device.suppress_kicks(suppressed)
        ring.add([piece(memory, b"x")])
        ring.publish()
        kicks.append(ring.needs_kick())
    assert kicks == [False, True]
    assert not ring.needs_kick(), "nothing is new"


@pytest.mark.parametrize(("event", "kick"), [(0, False), (2, True), (3, True), (4, False), (5, False)])
@pytest.mark.parametrize("turn", [0, 1], ids=["first_turn", "second_turn"])
def test_event_decides_the_kick(memory: GuestMemory, event: int, kick: bool, turn: int) -> None:
    """§2.8.14: a kick when what was published goes over the event's slot; here slots 2 and 3."""
    ring, buffer = PackedRing(memory, SIZE, event_index=True), piece(memory, b"x")
    device = DeviceSide.of(ring)
    for _ in range(SIZE * turn + 2):
        ring.add([buffer])
        ring.publish()
        device.drain()
        ring.take()
    ring.needs_kick()
    memory.store16(ring.device, event | (0 if turn else WRAP))
    memory.store16(ring.device + 2, 2)
    ring.add([buffer])
    ring.add([buffer])
    ring.publish()
    assert ring.needs_kick() is kick


@pytest.mark.parametrize(("event", "kick"), [(5 | WRAP, True), (0, True), (0 | WRAP, False), (5, False), (1, False)])
def test_event_across_the_end_of_the_ring(memory: GuestMemory, event: int, kick: bool) -> None:
    """Slots 5 of the first turn and 0 of the second are published."""
    ring, buffer = PackedRing(memory, SIZE, event_index=True), piece(memory, b"x")
    device = DeviceSide.of(ring)
    for _ in range(SIZE - 1):
        ring.add([buffer])
        ring.publish()
        device.drain()
        ring.take()
    ring.needs_kick()
    memory.store16(ring.device, event)
    memory.store16(ring.device + 2, 2)
    ring.add([buffer] * 2)
    ring.publish()
    assert ring.needs_kick() is kick


def test_wanting_an_interrupt_names_the_next_used_descriptor(memory: GuestMemory) -> None:
    ring = PackedRing(memory, SIZE, event_index=True)
    ring.want_interrupt(True)
    assert memory.unpack("HH", ring.driver) == (WRAP, 2)
    ring.want_interrupt(False)
    assert memory.unpack("HH", ring.driver)[1] == 1


def test_deliberately_wrong_descriptors_are_written_as_they_are(memory: GuestMemory, ring: PackedRing) -> None:
    ring.write_descriptor(3, 0xDEAD_BEEF_0000, 0xFFFFFFFF, flags=7, following=9)
    ring.offer(3)
    assert memory.unpack("QIHH", ring.descriptor + 48) == (0xDEAD_BEEF_0000, 0xFFFFFFFF, 9, 7)
    ring.publish()
    assert ring.flags_of(3) == 7 | AVAIL
