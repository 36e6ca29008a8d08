"""SET_VRING_NUM, BASE, ADDR, KICK, CALL, ERR, ENABLE: what is refused, and that nothing is left of it."""

import os

import pytest

from softdpu.spec import features as f
from softdpu.testkit import FrontEnd, GuestMemory
from softdpu.testkit import vhost_wire as wire
from softdpu.testkit.vhost_wire import Request
from tests.vhost.back_ends import Datapath
from tests.vhost.breaking import cause, closes

STATED = [Request.SET_VRING_NUM, Request.SET_VRING_BASE, Request.GET_VRING_BASE, Request.SET_VRING_ENABLE]
HANDED = [Request.SET_VRING_KICK, Request.SET_VRING_CALL, Request.SET_VRING_ERR]


@pytest.mark.parametrize("index", [4, 5, 255, 0xFFFFFFFF])
@pytest.mark.parametrize("request_", STATED, ids=lambda one: one.name)
def test_ring_that_does_not_exist(datapath: Datapath, front: FrontEnd, request_: Request, index: int) -> None:
    front.send(request_, wire.VRING_STATE.pack(index=index, value=1))
    assert closes(front)
    assert f"no ring {index}" in cause(datapath)


@pytest.mark.parametrize("index", [4, 255])
@pytest.mark.parametrize("request_", HANDED, ids=lambda one: one.name)
def test_descriptor_for_a_ring_that_does_not_exist(
    datapath: Datapath, front: FrontEnd, request_: Request, index: int
) -> None:
    before = datapath.descriptors
    front.send(request_, wire.NUMBER.pack(value=index), [os.eventfd(0)])
    assert closes(front)
    assert datapath.descriptors == before - 1


def test_addresses_for_a_ring_that_does_not_exist(front: FrontEnd) -> None:
    front.send(Request.SET_VRING_ADDR, wire.VRING_ADDR.pack(index=4))
    assert closes(front)


@pytest.mark.parametrize("size", [0, 3, 255, 32769, 65536, 0xFFFFFFFF])
def test_size_that_a_split_ring_cannot_have(datapath: Datapath, front: FrontEnd, size: int) -> None:
    front.set_features(f.mask_of(f.VERSION_1))
    front.send(Request.SET_VRING_NUM, wire.VRING_STATE.pack(index=0, value=size))
    assert closes(front)
    assert str(size) in cause(datapath)


@pytest.mark.parametrize("value", [2, 0xFFFFFFFF])
def test_neither_enabled_nor_disabled(front: FrontEnd, value: int) -> None:
    front.send(Request.SET_VRING_ENABLE, wire.VRING_STATE.pack(index=0, value=value))
    assert closes(front)


@pytest.mark.parametrize("request_", HANDED, ids=lambda one: one.name)
@pytest.mark.parametrize("value", [0x200, 1 << 63, 0xFF00])
def test_unknown_bits_beside_the_index(front: FrontEnd, request_: Request, value: int) -> None:
    front.send(request_, wire.NUMBER.pack(value=value), [os.eventfd(0)])
    assert closes(front)


@pytest.mark.parametrize("request_", HANDED, ids=lambda one: one.name)
def test_no_descriptor_and_no_word_of_that(front: FrontEnd, request_: Request) -> None:
    front.send(request_, wire.NUMBER.pack(value=0))
    assert closes(front)


@pytest.mark.parametrize("request_", HANDED, ids=lambda one: one.name)
def test_descriptor_and_the_word_that_there_is_none(front: FrontEnd, request_: Request) -> None:
    front.send(request_, wire.NUMBER.pack(value=wire.NO_FD), [os.eventfd(0)])
    assert closes(front)


@pytest.mark.parametrize("request_", HANDED, ids=lambda one: one.name)
def test_two_descriptors(datapath: Datapath, front: FrontEnd, request_: Request) -> None:
    before = datapath.descriptors
    front.send(request_, wire.NUMBER.pack(value=0), [os.eventfd(0), os.eventfd(0)])
    assert closes(front)
    assert datapath.descriptors == before - 1


@pytest.mark.parametrize("request_", HANDED, ids=lambda one: one.name)
def test_descriptor_that_is_no_eventfd(front: FrontEnd, request_: Request) -> None:
    with GuestMemory(4096) as memory:
        front.send(request_, wire.NUMBER.pack(value=0), [memory.fd])
        assert closes(front)


@pytest.mark.parametrize("request_", HANDED, ids=lambda one: one.name)
def test_new_descriptor_replaces_the_former(datapath: Datapath, front: FrontEnd, request_: Request) -> None:
    eventfd = os.eventfd(0)
    front.set_vring_fd(request_, 0, eventfd)
    before = datapath.descriptors
    for _ in range(10):
        front.set_vring_fd(request_, 0, eventfd)
    front.settle()
    assert datapath.descriptors == before
    os.close(eventfd)


def test_everything_goes_with_the_connection(datapath: Datapath, front: FrontEnd) -> None:
    front.settle()
    before = datapath.descriptors
    for index in range(4):
        for request in HANDED:
            front.set_vring_fd(request, index, os.eventfd(0))
    front.listen()
    front.close()
    datapath.event("disconnected")
    assert datapath.descriptors == before - 1
