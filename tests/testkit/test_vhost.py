"""The vhost-user front end against a peer that the test plays, byte by byte."""

import os
import socket
from collections.abc import Iterator

import pytest

from softdpu.testkit import FrontEnd, ProtocolBroken, RequestFailed
from softdpu.testkit import vhost_wire as wire
from softdpu.testkit.vhost import USER
from softdpu.testkit.vhost_wire import Flag, Protocol, Request

ANSWER = wire.VERSION | Flag.REPLY


class Peer:
    """The back end's end of the socket: its answers are written before the front end asks."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link

    def reply(self, request: Request, payload: bytes = b"", flags: int = ANSWER, fds: tuple[int, ...] = ()) -> None:
        head = wire.HEADER.pack(request=request, flags=flags, size=len(payload))
        socket.send_fds(self.link, [head + payload], list(fds))

    def request(self) -> tuple[dict[str, int], bytes, int]:
        """What the front end sent: header, payload, number of descriptors."""
        data, fds, _, _ = socket.recv_fds(self.link, 65536, 16)
        for fd in fds:
            os.close(fd)
        return wire.HEADER.unpack(data), data[wire.HEADER.size :], len(fds)


@pytest.fixture
def pair() -> Iterator[tuple[FrontEnd, Peer]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(1)
    with FrontEnd(ours, timeout=0.2) as front, theirs:
        yield front, Peer(theirs)


def number(value: int) -> bytes:
    return wire.NUMBER.pack(value=value)


def test_without_acknowledgements_a_command_is_not_waited_for(pair: tuple[FrontEnd, Peer]) -> None:
    front, peer = pair
    front.set_features(1 << 32)
    header, payload, _ = peer.request()
    assert (header["flags"], payload) == (wire.VERSION, number(1 << 32))


def test_with_them_it_asks_and_waits(pair: tuple[FrontEnd, Peer]) -> None:
    front, peer = pair
    front.protocol = Protocol.REPLY_ACK
    peer.reply(Request.SET_OWNER, number(0))
    front.command(Request.SET_OWNER)
    assert peer.request()[0]["flags"] == wire.VERSION | Flag.NEED_REPLY


def test_acknowledgement_that_is_not_zero_is_a_failure(pair: tuple[FrontEnd, Peer]) -> None:
    front, peer = pair
    front.protocol = Protocol.REPLY_ACK
    peer.reply(Request.SET_OWNER, number(1))
    with pytest.raises(RequestFailed):
        front.command(Request.SET_OWNER)


@pytest.mark.parametrize("payload", [b"", bytes(4), bytes(16)])
def test_acknowledgement_of_another_length_is_noticed(pair: tuple[FrontEnd, Peer], payload: bytes) -> None:
    front, peer = pair
    front.protocol = Protocol.REPLY_ACK
    peer.reply(Request.SET_OWNER, payload)
    with pytest.raises(ProtocolBroken):
        front.command(Request.SET_OWNER)


@pytest.mark.parametrize(
    ("request_", "flags"), [(Request.SET_OWNER, ANSWER), (Request.GET_FEATURES, 1), (Request.GET_FEATURES, 6)]
)
def test_what_is_no_reply_to_the_request_is_noticed(pair: tuple[FrontEnd, Peer], request_: Request, flags: int) -> None:
    front, peer = pair
    peer.reply(request_, number(0), flags)
    with pytest.raises(ProtocolBroken):
        front.settle()


def test_rings_are_named_by_other_addresses_than_the_guests(pair: tuple[FrontEnd, Peer]) -> None:
    """A back end that mixes them up must not work by luck."""
    front, peer = pair
    front.set_vring_addresses(1, 0x1000, 0x2000, 0x3000)
    assert wire.VRING_ADDR.unpack(peer.request()[1]) == {
        "index": 1,
        "flags": 0,
        "descriptor": USER + 0x1000,
        "used": USER + 0x3000,
        "available": USER + 0x2000,
        "log": 0,
    }


def test_eventfd_or_the_word_that_there_is_none(pair: tuple[FrontEnd, Peer]) -> None:
    front, peer = pair
    front.set_vring_fd(Request.SET_VRING_CALL, 3, front.socket.fileno())
    assert peer.request()[1:] == (number(3), 1)
    front.set_vring_fd(Request.SET_VRING_CALL, 3, None)
    assert peer.request()[1:] == (number(3 | wire.NO_FD), 0)


def test_memory_is_added_one_by_one_or_all_anew(pair: tuple[FrontEnd, Peer]) -> None:
    front, peer = pair
    fd = front.socket.fileno()
    for base in (0, 0x10000):
        front.dma_map(fd, base, 0x1000)
        header, payload, fds = peer.request()
        assert (header["request"], fds) == (Request.SET_MEM_TABLE, 1 + base // 0x10000)
        assert wire.MEM_TABLE.unpack(payload)["count"] == fds
    front.protocol = Protocol.CONFIGURE_MEM_SLOTS
    front.dma_unmap(0, 0x1000)
    assert peer.request()[0]["request"] == Request.REM_MEM_REG


def test_position_of_another_ring_is_noticed(pair: tuple[FrontEnd, Peer]) -> None:
    front, peer = pair
    peer.reply(Request.GET_VRING_BASE, wire.VRING_STATE.pack(index=1, value=7))
    with pytest.raises(ProtocolBroken):
        front.vring_base(0)


def test_configuration_that_is_not_given_is_a_failure(pair: tuple[FrontEnd, Peer]) -> None:
    front, peer = pair
    peer.reply(Request.GET_CONFIG, wire.CONFIG.pack(offset=0, size=0))
    with pytest.raises(RequestFailed):
        front.config(0, 6)


def test_record_of_what_is_in_flight_comes_with_its_descriptor(pair: tuple[FrontEnd, Peer]) -> None:
    front, peer = pair
    told = wire.INFLIGHT.pack(size=4096, offset=0, queues=2, queue_size=64)
    peer.reply(Request.GET_INFLIGHT_FD, told, fds=(front.socket.fileno(),))
    record = front.inflight(2, 64)
    os.close(record.fd)
    assert (record.size, record.queues, record.queue_size) == (4096, 2, 64)
    peer.reply(Request.GET_INFLIGHT_FD, told)
    with pytest.raises(ProtocolBroken):
        front.inflight(2, 64)
