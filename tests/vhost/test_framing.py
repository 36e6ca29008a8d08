"""Headers that cannot be, descriptors that do not belong, messages in pieces."""

import os
import socket

import pytest

from softdpu.testkit import FrontEnd
from softdpu.testkit import vhost_wire as wire
from softdpu.testkit.vhost_wire import Request
from tests.vhost.back_ends import Datapath
from tests.vhost.breaking import cause, closes


@pytest.mark.parametrize("request_", [0, 26, 27, 28, 35, 45, 1000, 0xFFFFFFFF])
def test_request_that_is_not_served(datapath: Datapath, front: FrontEnd, request_: int) -> None:
    front.send(request_, bytes(8))
    assert closes(front)
    assert cause(datapath)


@pytest.mark.parametrize("flags", [0, 2, 3, wire.VERSION | 4, wire.VERSION | 16], ids=hex)
def test_flags_that_no_request_has(datapath: Datapath, front: FrontEnd, flags: int) -> None:
    front.send(Request.GET_FEATURES, flags=flags)
    assert closes(front)
    assert "flags" in cause(datapath)


@pytest.mark.parametrize("size", [4097, 1 << 16, 0xFFFFFFFF])
def test_size_beyond_the_longest(datapath: Datapath, front: FrontEnd, size: int) -> None:
    front.send(Request.SET_FEATURES, size=size)
    assert closes(front)
    assert str(size) in cause(datapath)


NUMBERED = [
    Request.SET_FEATURES,
    Request.SET_PROTOCOL_FEATURES,
    Request.SET_VRING_NUM,
    Request.SET_VRING_BASE,
    Request.GET_VRING_BASE,
    Request.SET_VRING_ENABLE,
    Request.SET_VRING_KICK,
    Request.SET_VRING_CALL,
    Request.SET_VRING_ERR,
    Request.SET_VRING_ADDR,
    Request.SET_STATUS,
    Request.GET_CONFIG,
]


@pytest.mark.parametrize("length", [0, 1, 7, 9, 4096])
@pytest.mark.parametrize("request_", NUMBERED, ids=lambda one: one.name)
def test_payload_of_another_length(datapath: Datapath, front: FrontEnd, request_: Request, length: int) -> None:
    front.send(request_, bytes(length))
    if request_ == Request.GET_CONFIG and length > 12:
        return  # a configuration request has what it asks for behind it
    assert closes(front)
    assert request_.name in cause(datapath)


@pytest.mark.parametrize("request_", [Request.GET_FEATURES, Request.GET_PROTOCOL_FEATURES, Request.GET_QUEUE_NUM])
def test_question_with_a_payload(front: FrontEnd, request_: Request) -> None:
    front.send(request_, bytes(8))
    assert closes(front)


def test_message_that_comes_byte_by_byte(front: FrontEnd) -> None:
    for byte in wire.HEADER.pack(request=Request.GET_FEATURES, flags=wire.VERSION):
        front.send_bytes(bytes([byte]))
    assert front.receive().request == Request.GET_FEATURES


def test_messages_in_one_write(front: FrontEnd) -> None:
    head = wire.HEADER.pack(request=Request.GET_FEATURES, flags=wire.VERSION)
    front.send_bytes(head * 40)
    assert {front.receive().payload for _ in range(40)} == {wire.NUMBER.pack(value=front.features)}


@pytest.mark.parametrize("request_", [Request.GET_FEATURES, Request.SET_OWNER, Request.SET_FEATURES])
def test_descriptors_that_do_not_belong_are_closed(datapath: Datapath, front: FrontEnd, request_: Request) -> None:
    before = datapath.descriptors
    reader, writer = os.pipe()
    front.send(request_, b"" if request_ != Request.SET_FEATURES else bytes(8), [reader, writer])
    assert closes(front)
    assert "descriptors" in cause(datapath)
    assert datapath.descriptors == before - 1, "the connection and what came with it are closed"
    os.close(reader)
    os.close(writer)


def test_more_descriptors_than_are_taken(datapath: Datapath, front: FrontEnd) -> None:
    before = datapath.descriptors
    front.send(Request.SET_MEM_TABLE, wire.MEM_TABLE.pack(count=8), [0] * 100)
    assert closes(front)
    assert datapath.descriptors == before - 1


def test_second_front_end_is_turned_away(datapath: Datapath, front: FrontEnd) -> None:
    with FrontEnd(front.socket.getpeername()) as second:
        assert closes(second)
    front.settle()


def test_one_that_says_nothing_gives_way_to_one_that_does(datapath: Datapath) -> None:
    place = datapath.serve(0)
    with FrontEnd(place) as silent, FrontEnd(place) as probe, FrontEnd(place) as speaker:
        speaker.negotiate()
        assert closes(silent)
        assert closes(probe)
        speaker.settle()


def test_one_that_speaks_at_last_is_served_if_nobody_did_before(datapath: Datapath) -> None:
    place = datapath.serve(0)
    with FrontEnd(place) as first, FrontEnd(place) as second:
        first.negotiate()
        assert closes(second)
        first.settle()


def test_next_front_end_is_served(datapath: Datapath, front: FrontEnd) -> None:
    place = front.socket.getpeername()
    front.send(1000)
    assert closes(front)
    with FrontEnd(place) as successor:
        successor.negotiate()


def test_answers_that_are_never_read_cost_the_connection(datapath: Datapath, front: FrontEnd) -> None:
    head = wire.HEADER.pack(request=Request.GET_FEATURES, flags=wire.VERSION)
    with pytest.raises((ConnectionError, TimeoutError)):
        for _ in range(1000):
            front.send_bytes(head * 1000)
    with FrontEnd(datapath.folder / "vhost0") as successor:
        successor.negotiate()


def test_half_a_message_holds_nobody_up(datapath: Datapath, front: FrontEnd) -> None:
    front.send_bytes(wire.HEADER.pack(request=Request.SET_FEATURES, flags=wire.VERSION, size=8) + b"1234")
    with FrontEnd(datapath.serve(1)) as other:
        other.negotiate()


def test_front_end_gone_in_the_middle(datapath: Datapath, front: FrontEnd) -> None:
    before = datapath.descriptors
    front.send_bytes(wire.HEADER.pack(request=Request.SET_FEATURES, flags=wire.VERSION, size=8) + b"1234")
    front.socket.shutdown(socket.SHUT_RDWR)
    datapath.event("disconnected")
    assert datapath.descriptors == before - 1
