"""The driver's end of a split ring (virtio 1.3 §2.7)."""

from collections.abc import Iterator

import pytest

from softdpu.testkit import Buffer, DeviceBroke, GuestMemory, RingFull, SplitRing
from tests.testkit.device_side import DeviceSide, SplitSide


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with GuestMemory(1 << 20) as memory:
        yield memory


@pytest.fixture
def ring(memory: GuestMemory) -> SplitRing:
    return SplitRing(memory, 8)


def piece(memory: GuestMemory, data: bytes) -> Buffer:
    address = memory.allocate(len(data))
    memory.write(address, data)
    return Buffer(address, len(data))


def test_chain_arrives_whole(memory: GuestMemory, ring: SplitRing) -> None:
    ring.add([piece(memory, b"one "), piece(memory, b"two "), piece(memory, b"three")])
    ring.publish()
    assert DeviceSide.of(ring).drain() == b"one two three"


def test_indirect_chain_takes_one_descriptor(memory: GuestMemory, ring: SplitRing) -> None:
    ring.add([piece(memory, b"one "), piece(memory, b"two")], indirect=True)
    ring.publish()
    assert ring.free == 7
    assert DeviceSide.of(ring).drain() == b"one two"


def test_indirect_tables_are_used_again(memory: GuestMemory, ring: SplitRing) -> None:
    device = DeviceSide.of(ring)
    buffers = [piece(memory, b"a"), piece(memory, b"b")]
    before = memory.mark()
    for _ in range(100):
        ring.add(buffers, indirect=True)
        ring.publish()
        device.drain()
        ring.take()
    assert memory.mark() - before <= ring.size * 2 * 16


def test_nothing_is_visible_before_publish(memory: GuestMemory, ring: SplitRing) -> None:
    ring.add([piece(memory, b"x")])
    assert DeviceSide.of(ring).pop() is None


def test_index_wraps_at_65536(memory: GuestMemory, ring: SplitRing) -> None:
    device, buffer = DeviceSide.of(ring), piece(memory, b"x")
    for _ in range(0x1_0003):
        ring.add([buffer])
        ring.publish()
        device.drain()
        assert ring.take() is not None
    assert (ring.available_index, ring.used_index, ring.free) == (3, 3, 8)


def test_full_ring_is_refused(memory: GuestMemory, ring: SplitRing) -> None:
    buffer = piece(memory, b"x")
    ring.add([buffer] * 5)
    with pytest.raises(RingFull, match="4 descriptors wanted, 3 of 8 free"):
        ring.add([buffer] * 4)


def test_rings_have_the_legacy_layout(ring: SplitRing) -> None:
    """§2.7.2: available ring right after the table, used ring on the next page."""
    assert ring.descriptor % 4096 == 0
    assert ring.driver == ring.descriptor + 16 * 8
    assert ring.device == ring.descriptor + 4096


def test_used_chain_that_was_not_offered_is_noticed(memory: GuestMemory, ring: SplitRing) -> None:
    head = ring.add([piece(memory, b"x")])
    ring.publish()
    DeviceSide.of(ring).push(head + 1, 0)
    with pytest.raises(DeviceBroke, match="does not hold"):
        ring.take()


def test_used_index_ahead_of_what_was_offered_is_noticed(memory: GuestMemory, ring: SplitRing) -> None:
    head = ring.add([piece(memory, b"x")])
    ring.publish()
    for _ in range(2):
        DeviceSide.of(ring).push(head, 0)
    memory.store16(ring.device + 2, 2)
    with pytest.raises(DeviceBroke, match="2 new, but the device holds 1"):
        ring.take()


def test_more_written_than_there_was_room_is_noticed(memory: GuestMemory, ring: SplitRing) -> None:
    head = ring.add([Buffer(memory.allocate(16), 16, writable=True)])
    ring.publish()
    DeviceSide.of(ring).push(head, 17)
    with pytest.raises(DeviceBroke, match="17 bytes into a chain with room for 16"):
        ring.take()


def test_no_kick_while_the_device_suppresses_it(memory: GuestMemory, ring: SplitRing) -> None:
    """§2.7.10: VIRTQ_USED_F_NO_NOTIFY."""
    device = DeviceSide.of(ring)
    device.suppress_kicks(True)
    ring.add([piece(memory, b"x")])
    ring.publish()
    assert not ring.needs_kick()
    device.suppress_kicks(False)
    ring.add([piece(memory, b"x")])
    ring.publish()
    assert ring.needs_kick()


def test_no_kick_without_a_new_chain(ring: SplitRing) -> None:
    ring.publish()
    assert not ring.needs_kick()


@pytest.mark.parametrize(("event", "kick"), [(0, True), (1, True), (2, False), (0xFFFF, False)])
def test_event_index_decides_the_kick(memory: GuestMemory, event: int, kick: bool) -> None:
    """§2.7.10: notify when the index passes avail_event; here it goes from 0 to 2."""
    ring = SplitRing(memory, 8, event_index=True)
    device = DeviceSide.of(ring)
    assert isinstance(device, SplitSide)
    device.set_kick_event(event)
    for _ in range(2):
        ring.add([piece(memory, b"x")])
    ring.publish()
    assert ring.needs_kick() is kick


def test_wanting_an_interrupt_names_the_next_used_chain(memory: GuestMemory) -> None:
    """§2.7.8: used_event lies after the available ring."""
    ring = SplitRing(memory, 8, event_index=True)
    ring.want_interrupt(True)
    assert memory.load16(ring.driver + 4 + 2 * 8) == 0
    ring.want_interrupt(False)
    assert memory.load16(ring.driver + 4 + 2 * 8) == 0xFFFF


def test_deliberately_wrong_entries_are_written_as_they_are(memory: GuestMemory, ring: SplitRing) -> None:
    ring.write_descriptor(3, 0xDEAD_BEEF_0000, 0xFFFFFFFF, flags=7, following=9)
    ring.offer(1234)
    ring.set_available_index(999)
    assert memory.unpack("QIHH", ring.descriptor + 48) == (0xDEAD_BEEF_0000, 0xFFFFFFFF, 7, 9)
    assert memory.load16(ring.driver + 4) == 1234
    assert ring.available_index == 999


def test_chain_that_an_in_order_device_passed_over_counts_as_full(memory: GuestMemory) -> None:
    """§2.7.9: one used element a batch, that of its last chain; the index moves by the whole batch."""
    ring = SplitRing(memory, 8, in_order=True)
    device = DeviceSide.of(ring)
    for _ in range(3):
        ring.add([Buffer(memory.allocate(16), 16, writable=True)])
    ring.publish()
    for _ in range(2):
        popped = device.pop()
        assert popped
        device.skip(popped[0])
    device.fill(b"last")
    assert [taken[1] for taken in iter(ring.take, None)] == [16, 16, 4]
    assert ring.free == 8


def test_in_order_descriptors_follow_each_other_round_the_table(memory: GuestMemory) -> None:
    """§2.7.9: next is x + 1, and 0 in the last descriptor."""
    ring = SplitRing(memory, 4, in_order=True)
    device, buffer = DeviceSide.of(ring), piece(memory, b"x")
    heads = []
    for _ in range(4):
        heads.append(ring.add([buffer] * 3))
        ring.publish()
        assert device.drain() == b"xxx"
        assert ring.take()
    assert heads == [0, 3, 2, 1]
    assert [memory.unpack("QIHH", ring.descriptor + 16 * index)[3] for index in range(3)] == [0, 2, 3]
