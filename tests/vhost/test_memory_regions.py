"""SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG, GET_MAX_MEM_SLOTS: guest memory made reachable, and taken back."""

import os

import pytest

from softdpu.testkit import FrontEnd, GuestMemory, RequestFailed, frame
from softdpu.testkit import vhost_wire as wire
from softdpu.testkit.vhost import USUAL, Region
from softdpu.testkit.vhost_wire import Protocol, Request
from softdpu.testkit.wire import PAGE
from tests.vhost.back_ends import Datapath
from tests.vhost.breaking import closes, refused
from tests.vhost.conftest import Plug

MACS = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


@pytest.fixture
def memory() -> GuestMemory:
    return GuestMemory(16 * PAGE, base=0)


def added(guest: int = 0, size: int = PAGE, offset: int = 0, user: int | None = None) -> bytes:
    user = 0x7000_0000 + guest if user is None else user
    return wire.MEM_REG.pack() + wire.REGION.pack(guest=guest, size=size, user=user & (1 << 64) - 1, offset=offset)


WRONG = {
    "no_bytes": added(size=0),
    "beyond_the_end_of_the_file": added(offset=15 * PAGE, size=2 * PAGE),
    "longer_than_the_file": added(size=1 << 40),
    "offset_that_wraps": added(offset=(1 << 64) - PAGE),
    "guest_address_that_wraps": added(guest=(1 << 64) - PAGE, size=2 * PAGE, user=0),
    "user_address_that_wraps": added(user=(1 << 64) - PAGE, size=2 * PAGE),
    "cut_off": added()[:-1],
    "too_long": added() + b"\0",
    "empty": b"",
}


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG.keys())
def test_region_that_cannot_be(datapath: Datapath, front: FrontEnd, memory: GuestMemory, payload: bytes) -> None:
    before = datapath.descriptors
    assert refused(front, Request.ADD_MEM_REG, payload, (memory.fd,))
    assert datapath.descriptors == before


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG.keys())
def test_region_that_cannot_be_without_acknowledgement(datapath: Datapath, memory: GuestMemory, payload: bytes) -> None:
    """A front end that does not ask would go on as if it were there."""
    with FrontEnd(datapath.serve(0)) as front:
        front.negotiate(USUAL & ~Protocol.REPLY_ACK)
        front.send(Request.ADD_MEM_REG, payload, [memory.fd])
        assert closes(front)


def test_region_is_mapped_and_its_descriptor_closed(datapath: Datapath, front: FrontEnd, memory: GuestMemory) -> None:
    before = datapath.descriptors
    front.dma_map(memory.fd, 0, PAGE)
    assert datapath.descriptors == before
    front.dma_unmap(0, PAGE)


@pytest.mark.parametrize("fds", [0, 2])
def test_region_with_another_number_of_descriptors(front: FrontEnd, memory: GuestMemory, fds: int) -> None:
    front.send(Request.ADD_MEM_REG, added(), [memory.fd] * fds)
    assert closes(front)


def test_region_in_a_descriptor_that_is_no_memory(datapath: Datapath, front: FrontEnd) -> None:
    before = datapath.descriptors
    eventfd = os.eventfd(0)
    assert refused(front, Request.ADD_MEM_REG, added(), (eventfd,))
    os.close(eventfd)
    assert datapath.descriptors == before


@pytest.mark.parametrize(("guest", "size"), [(0x2000, 0x2000), (0x1000, 0x2000), (0x3000, 0x1000), (0, 0x10000)])
def test_region_over_another(front: FrontEnd, memory: GuestMemory, guest: int, size: int) -> None:
    front.dma_map(memory.fd, 0x2000, 0x2000)
    with pytest.raises(RequestFailed):
        front.dma_map(memory.fd, guest, size)


def test_same_user_addresses_twice(front: FrontEnd, memory: GuestMemory) -> None:
    front.command(Request.ADD_MEM_REG, added(0, user=0x5000), [memory.fd])
    assert refused(front, Request.ADD_MEM_REG, added(PAGE, user=0x5000), (memory.fd,))


def test_as_many_regions_as_there_are_slots(front: FrontEnd, memory: GuestMemory) -> None:
    most = front.number(Request.GET_MAX_MEM_SLOTS)
    assert most >= 8
    for slot in range(most):
        front.dma_map(memory.fd, slot * PAGE, PAGE)
    with pytest.raises(RequestFailed):
        front.dma_map(memory.fd, most * PAGE, PAGE)


@pytest.mark.parametrize(
    "payload",
    [added(guest=PAGE), added(size=2 * PAGE), added(user=0), added()[:-1], b""],
    ids=["elsewhere", "another_size", "another_user_address", "cut_off", "empty"],
)
def test_removal_of_what_is_not_there(front: FrontEnd, memory: GuestMemory, payload: bytes) -> None:
    front.command(Request.ADD_MEM_REG, added(), [memory.fd])
    assert refused(front, Request.REM_MEM_REG, payload)
    front.command(Request.REM_MEM_REG, added())


def test_table_replaces_what_was_there(datapath: Datapath, memory: GuestMemory) -> None:
    with FrontEnd(datapath.serve(0)) as front:
        front.negotiate(USUAL & ~Protocol.CONFIGURE_MEM_SLOTS)
        for guest in (0, 0x10_0000, 0):
            front.set_memory([Region(guest, PAGE, 0, memory.fd), Region(guest + PAGE, PAGE, PAGE, memory.fd)])
        front.settle()


@pytest.mark.parametrize("count", [0, 1, 3, 9, 0xFFFFFFFF])
def test_table_whose_count_lies(front: FrontEnd, memory: GuestMemory, count: int) -> None:
    regions = [Region(guest * PAGE, PAGE, 0, memory.fd).pack() for guest in range(2)]
    table = wire.MEM_TABLE.pack(count=count) + b"".join(regions)
    assert refused(front, Request.SET_MEM_TABLE, table, (memory.fd, memory.fd))


def test_ring_outside_memory(front: FrontEnd, memory: GuestMemory) -> None:
    front.set_features(1 << 32)
    front.dma_map(memory.fd, 0, 16 * PAGE)
    front.set_vring(Request.SET_VRING_NUM, 0, 16)
    front.set_vring_addresses(0, 0x100_0000, PAGE, 2 * PAGE)
    front.send(Request.SET_VRING_KICK, wire.NUMBER.pack(value=wire.NO_FD))
    assert closes(front)


def test_region_taken_away_under_running_rings(datapath: Datapath, plug: Plug) -> None:
    """The acknowledgement means that the memory is touched no more; with it back, the rings go on."""
    a, b = plug(0), plug(1)
    for _ in range(3):
        for number in range(50):
            b.send(frame(MACS[0], MACS[1], b"%d" % number))
        memory = a.memory
        memory.unmap_from(a.front)
        copy = memory.read(memory.base, memory.size)
        for number in range(50):
            b.send(frame(MACS[0], MACS[1], b"%d" % number))
        b.transmitters[0].reclaim()
        assert memory.read(memory.base, memory.size) == copy
        memory.map_into(a.front)
        a.drain()
        b.send(frame(MACS[0], MACS[1], b"again"))
        assert b"again" in a.receive()


def test_memfd_truncated_under_running_rings(datapath: Datapath, plug: Plug) -> None:
    """An access would be SIGBUS; the queue ends, and nobody else notices."""
    a, b, c = plug(0), plug(1), plug(2)
    a.send(frame(b"\xff" * 6, MACS[0], b"here I am"))
    assert b"here I am" in b.receive()
    assert b"here I am" in c.receive()
    os.ftruncate(a.memory.fd, 0)
    for _ in range(20):
        b.send(frame(MACS[0], MACS[1], b"to the dead"))
    assert "truncated" in datapath.event("queue_fault").cause
    b.send(frame(bytes.fromhex("020000000003"), MACS[1], b"well"))
    assert any(b"well" in one for one in c.drain()), "beside what is flooded, now that its receiver is gone"
