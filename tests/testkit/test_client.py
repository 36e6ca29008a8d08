"""The vfio-user client against a peer that the test plays, byte by byte."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from softdpu.testkit import Client, Disconnected, ProtocolBroken, RequestFailed, wire
from softdpu.testkit.client import single_write
from softdpu.testkit.wire import Flag, Op


class Peer:
    """The device's end of the socket: its replies are written before the client asks."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link

    def reply(
        self, command: Op, message_id: int, payload: bytes = b"", flags: int = Flag.REPLY, error: int = 0
    ) -> None:
        size = wire.HEADER.size + len(payload)
        head = wire.HEADER.pack(message_id=message_id, command=command, size=size, flags=flags, error=error)
        self.link.sendall(head + payload)

    def request(self) -> tuple[dict[str, int], bytes, list[int]]:
        data, fds, _, _ = socket.recv_fds(self.link, 65536, 16)
        return wire.HEADER.unpack(data), data[wire.HEADER.size :], fds


@pytest.fixture
def pair() -> Iterator[tuple[Client, Peer]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(1)
    with Client(ours, timeout=0.2) as client, theirs:
        yield client, Peer(theirs)


FIRST = 2  # the id of a fresh client's first message


def test_version_request_is_json_with_nul(pair: tuple[Client, Peer]) -> None:
    client, peer = pair
    answer = wire.VERSION.pack(major=0, minor=1) + b'{"capabilities":{"max_msg_fds":8}}\0'
    peer.reply(Op.VERSION, FIRST, answer)
    assert client.negotiate() == {"major": 0, "minor": 1, "capabilities": {"max_msg_fds": 8}}
    header, payload, _ = peer.request()
    assert header["size"] == wire.HEADER.size + len(payload)
    assert payload[-1:] == b"\0"
    assert "capabilities" in json.loads(payload[4:-1])


def test_map_carries_the_descriptor_with_the_message(pair: tuple[Client, Peer]) -> None:
    client, peer = pair
    peer.reply(Op.DMA_MAP, FIRST)
    client.dma_map(client.socket.fileno(), address=0x1000, length=0x2000, offset=0x3000)
    _, payload, fds = peer.request()
    for fd in fds:
        os.close(fd)
    assert len(fds) == 1
    assert wire.DMA_MAP.unpack(payload) == {
        "argsz": 32,
        "flags": 3,
        "offset": 0x3000,
        "address": 0x1000,
        "length": 0x2000,
    }


def test_error_reply_becomes_an_exception_with_its_errno(pair: tuple[Client, Peer]) -> None:
    client, peer = pair
    peer.reply(Op.DEVICE_RESET, FIRST, flags=Flag.REPLY | Flag.ERROR, error=16)
    with pytest.raises(RequestFailed) as caught:
        client.reset()
    assert caught.value.errno == 16


def test_error_reply_with_a_payload_is_noticed(pair: tuple[Client, Peer]) -> None:
    client, peer = pair
    peer.reply(Op.DEVICE_RESET, FIRST, b"more", flags=Flag.REPLY | Flag.ERROR, error=16)
    with pytest.raises(ProtocolBroken):
        client.reset()


@pytest.mark.parametrize(
    ("command", "message_id", "flags"), [(Op.DMA_MAP, FIRST, 1), (13, FIRST + 1, 1), (13, FIRST, 0)]
)
def test_what_is_no_reply_to_the_request_is_noticed(
    pair: tuple[Client, Peer], command: Op, message_id: int, flags: int
) -> None:
    client, peer = pair
    peer.reply(command, message_id, flags=flags)
    with pytest.raises(ProtocolBroken):
        client.reset()


def test_short_read_is_noticed(pair: tuple[Client, Peer]) -> None:
    client, peer = pair
    peer.reply(Op.REGION_READ, FIRST, wire.REGION_ACCESS.pack(offset=0, region=0, count=4) + b"abc")
    with pytest.raises(ProtocolBroken):
        client.read(0, 0, 4)


def test_posted_write_waits_for_nothing(pair: tuple[Client, Peer]) -> None:
    client, peer = pair
    client.write(2, 0x3000, b"\x01\x00", posted=True)
    header, payload, _ = peer.request()
    assert header["flags"] == Flag.NO_REPLY
    assert payload == wire.REGION_ACCESS.pack(offset=0x3000, region=2, count=2) + b"\x01\x00"


def test_write_multi_is_fixed_records_of_24_bytes(pair: tuple[Client, Peer]) -> None:
    client, peer = pair
    peer.reply(Op.REGION_WRITE_MULTI, FIRST, wire.WRITE_MULTI.pack(count=2))
    assert client.write_multi([(0, 4, b"\x01"), (2, 8, b"\x02\x03")]) == 2
    payload = peer.request()[1]
    assert payload == (2).to_bytes(8, "little") + single_write(0, 4, b"\x01") + single_write(2, 8, b"\x02\x03")
    assert len(payload) == 8 + 2 * 24


def test_no_answer_in_time(pair: tuple[Client, Peer]) -> None:
    with pytest.raises(TimeoutError):
        pair[0].reset()


def test_closed_connection(pair: tuple[Client, Peer]) -> None:
    client, peer = pair
    peer.link.close()
    with pytest.raises(Disconnected):
        client.reset()
    assert client.disconnected()


def test_size_may_lie(pair: tuple[Client, Peer]) -> None:
    client, peer = pair
    client.send(Op.DEVICE_RESET, size=5)
    assert peer.request()[0]["size"] == 5


def test_unknown_field_is_refused() -> None:
    with pytest.raises(KeyError, match="no field lenght"):
        wire.DMA_MAP.pack(lenght=4)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Client(tmp_path / "nobody.sock")


def test_full_backlog_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        with Client(path), pytest.raises(TimeoutError, match="nobody accepts"):
            Client(path, timeout=0.05)
