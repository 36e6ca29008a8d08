"""GET_INFLIGHT_FD, SET_INFLIGHT_FD: memory that a front end keeps for the back end after this one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from softdpu.spec import features as f
from softdpu.testkit import Disconnected, FrontEnd, RequestFailed
from softdpu.testkit.frames import BROADCAST, frame
from softdpu.testkit.vhost import Inflight
from softdpu.testkit.vhost_driver import FRESH_PACKED
from softdpu.testkit.vhost_wire import INFLIGHT, Request
from tests.vhost.back_ends import Datapath
from tests.vhost.breaking import cause, closes, refused
from tests.vhost.conftest import Plug

SPLIT = f.mask_of(f.VERSION_1, f.NET_MRG_RXBUF)
PACKED = SPLIT | f.mask_of(f.RING_PACKED)
MAC = b"\2\0\0\0\0\1"
SIZE = 64  # descriptors
STRIDES = {"split": (SPLIT, 16 + 16 * SIZE), "packed": (PACKED, 32 + 32 * SIZE)}
VERSION, DESCRIPTORS, USED = 8, 10, 16  # offsets in the head of a queue's region


def field(record: Inflight, queue: int, offset: int, stride: int) -> int:
    return int.from_bytes(os.pread(record.fd, 2, queue * stride + offset), "little")


def rounded(size: int) -> int:
    return -(-size // 64) * 64


@contextmanager
def memory(size: int) -> Iterator[int]:
    fd = os.memfd_create("inflight")
    os.ftruncate(fd, size)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("layout", STRIDES)
def test_regions_are_as_long_as_their_layout(front: FrontEnd, layout: str) -> None:
    features, size = STRIDES[layout]
    front.set_features(features)
    record = front.inflight(4, SIZE)
    assert (record.size, record.offset) == (4 * rounded(size), 0)
    assert os.fstat(record.fd).st_size == record.size
    heads = [
        (field(record, queue, VERSION, rounded(size)), field(record, queue, DESCRIPTORS, rounded(size)))
        for queue in range(4)
    ]
    assert heads == [(0, SIZE)] * 4
    os.close(record.fd)


def test_a_packed_rings_position_is_in_the_fields_for_it(plug: Plug) -> None:
    one, other = plug(0, wanted=PACKED, queue_size=SIZE), plug(1)
    one.stop()
    one.record = one.front.inflight(2, SIZE)
    one.resume(one.front)
    stride = rounded(32 + 32 * SIZE)
    for n in range(1, 4):
        one.send(frame(BROADCAST, MAC, bytes([n]) * 60))
        other.receive()
    assert field(one.record, 1, VERSION, stride) == 1
    one.stop()
    assert field(one.record, 1, VERSION, stride) == 0
    assert field(one.record, 1, USED, stride) == 3


@pytest.mark.parametrize(("queues", "size"), [(5, SIZE), (0xFFFF, SIZE), (4, 257), (4, 0xFFFF), (0, SIZE), (4, 0)])
@pytest.mark.parametrize("request_", [Request.GET_INFLIGHT_FD, Request.SET_INFLIGHT_FD], ids=lambda one: one.name)
def test_more_rings_or_descriptors_than_there_are(
    datapath: Datapath, front: FrontEnd, request_: Request, queues: int, size: int
) -> None:
    before = datapath.descriptors
    with memory(1 << 20) as fd:
        fds = (fd,) if request_ == Request.SET_INFLIGHT_FD else ()
        front.send(request_, INFLIGHT.pack(size=1 << 20, queues=queues, queue_size=size), fds)
        assert closes(front)
    assert request_.name in cause(datapath)
    assert datapath.descriptors < before


@pytest.mark.parametrize("size", [0, 64, 4 * rounded(16 + 16 * SIZE) - 1])
def test_memory_that_does_not_hold_the_regions(datapath: Datapath, front: FrontEnd, size: int) -> None:
    before = datapath.descriptors
    with memory(1 << 20) as fd:
        payload = INFLIGHT.pack(size=size, queues=4, queue_size=SIZE)
        try:
            assert refused(front, Request.SET_INFLIGHT_FD, payload, (fd,))
        except Disconnected:
            assert "SET_INFLIGHT_FD" in cause(datapath)
        else:
            assert datapath.descriptors == before


def test_memory_shorter_than_it_says(datapath: Datapath, front: FrontEnd) -> None:
    before = datapath.descriptors
    with memory(64) as fd:
        payload = INFLIGHT.pack(size=1 << 20, queues=4, queue_size=SIZE)
        assert refused(front, Request.SET_INFLIGHT_FD, payload, (fd,))
    assert datapath.descriptors == before


@pytest.mark.parametrize("offset", [1 << 20, 1 << 62, 2**64 - 4096])
def test_offset_that_no_memory_has(datapath: Datapath, front: FrontEnd, offset: int) -> None:
    before = datapath.descriptors
    with memory(1 << 20) as fd:
        payload = INFLIGHT.pack(size=1 << 19, offset=offset, queues=4, queue_size=SIZE)
        assert refused(front, Request.SET_INFLIGHT_FD, payload, (fd,))
    assert datapath.descriptors == before


def test_descriptor_that_is_no_memory(datapath: Datapath, front: FrontEnd) -> None:
    before = datapath.descriptors
    fd = os.eventfd(0)
    assert refused(front, Request.SET_INFLIGHT_FD, INFLIGHT.pack(size=1 << 16, queues=4, queue_size=SIZE), (fd,))
    os.close(fd)
    assert datapath.descriptors == before


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_descriptors(datapath: Datapath, front: FrontEnd, count: int) -> None:
    with memory(1 << 20) as fd:
        front.send(Request.SET_INFLIGHT_FD, INFLIGHT.pack(size=1 << 20, queues=4, queue_size=SIZE), [fd] * count)
        assert closes(front)
    assert f"{count} descriptors" in cause(datapath)


def test_not_while_rings_run(datapath: Datapath, plug: Plug) -> None:
    one = plug(0)
    with memory(1 << 20) as fd:
        one.front.send(Request.SET_INFLIGHT_FD, INFLIGHT.pack(size=1 << 20, queues=2, queue_size=SIZE), [fd])
        assert closes(one.front)
    assert "rings run" in cause(datapath)


def test_position_that_the_ring_does_not_have_costs_the_ring(datapath: Datapath, plug: Plug) -> None:
    one = plug(0, wanted=PACKED, queue_size=SIZE)
    one.stop()
    one.record = one.front.inflight(2, SIZE)
    stride = rounded(32 + 32 * SIZE)
    os.pwrite(one.record.fd, (1).to_bytes(2, "little"), stride + VERSION)
    os.pwrite(one.record.fd, SIZE.to_bytes(2, "little") * 2 + bytes([1, 1, 0, 0]), stride + USED)
    one.resume(one.front, {0: FRESH_PACKED, 1: FRESH_PACKED | 5})
    assert datapath.event("queue_fault").queue == 1
    one.errors.wait(1, 5.0)


def test_record_at_an_odd_place_costs_the_ring(datapath: Datapath, plug: Plug) -> None:
    one = plug(0, wanted=PACKED, queue_size=SIZE)
    one.stop()
    with memory(1 << 20) as fd:
        one.record = Inflight(fd, 1 << 19, 1, 2, SIZE)
        one.resume(one.front)
        assert "record" in datapath.event("queue_fault").cause


def test_record_truncated_under_running_rings(datapath: Datapath, plug: Plug) -> None:
    """An access would be SIGBUS; the queue ends or goes on without, and nobody else notices."""
    one, other, third = plug(0, wanted=PACKED, queue_size=SIZE), plug(1), plug(2)
    one.stop()
    one.record = one.front.inflight(2, SIZE)
    one.resume(one.front)
    os.ftruncate(one.record.fd, 0)
    one.send(frame(BROADCAST, MAC, b"perhaps"))
    sent = frame(BROADCAST, b"\2\0\0\0\0\3", b"surely")
    third.send(sent)
    while other.receive() != sent:
        pass


def test_refused_without_the_protocol_feature(datapath: Datapath) -> None:
    with FrontEnd(datapath.serve(0)) as front:
        front.negotiate(1 << 3)
        with pytest.raises(Disconnected):
            front.inflight(2, SIZE)
    assert "INFLIGHT_SHMFD" in cause(datapath)


def test_refusal_is_an_error_of_the_request(front: FrontEnd) -> None:
    with memory(64) as fd, pytest.raises(RequestFailed):
        front.set_inflight(Inflight(fd, 1 << 20, 0, 4, SIZE))
