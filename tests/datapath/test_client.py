"""The controller's end of the datapath's socket, with the test at the other end."""

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from softdpu.datapath import client
from softdpu.datapath.client import DatapathError, DatapathLink, Request
from softdpu.datapath.messages import (
    PROTOCOL,
    Access,
    Answer,
    Attached,
    AttachedAll,
    Destroy,
    Done,
    Event,
    FromController,
    Hello,
    Positioned,
)
from softdpu.virtio.standing import QueueStanding, Standing

READ = Access(function=0, request=7, write=False, region=7, offset=0, size=4, data=b"", isr=0)


def answer(request: Request) -> Answer:
    return Answer(request.function, request.request, 0, b"data", None, ())


class Far:
    """The datapath's end."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.link.settimeout(5)

    def send(self, *messages: object) -> None:
        for message in messages:
            self.link.send(message if isinstance(message, bytes) else msgspec.msgpack.encode(message))

    def heard(self) -> Any:
        return msgspec.msgpack.decode(self.link.recv(1 << 20), type=FromController)


def descriptors_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Far]]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    with near, far:
        yield near, Far(far)


@pytest.fixture
def far(ends: tuple[socket.socket, Far]) -> Far:
    return ends[1]


@pytest.fixture
def closed() -> list[str]:
    return []


@pytest.fixture
def link(ends: tuple[socket.socket, Far], closed: list[str]) -> DatapathLink:
    return DatapathLink(ends[0], answer, lambda: closed.append("closed"))


async def test_attaching_reads_who_is_there(link: DatapathLink, far: Far) -> None:
    there = Attached(3, b"state", connected=True)
    far.send(Hello(PROTOCOL, 12), there, AttachedAll())
    assert await link.attach() == [there]
    assert link.pid == 12


@pytest.mark.parametrize(
    ("first", "sentence"),
    [(Hello(PROTOCOL + 1, 1), "speaks protocol"), (b"\xff", "is not understood"), (b"\x80", "is not understood")],
)
async def test_another_protocol_is_a_sentence(link: DatapathLink, far: Far, first: object, sentence: str) -> None:
    far.send(first)
    with pytest.raises(DatapathError, match=sentence) as refused:
        await link.attach()
    assert refused.value.errno == errno.EPROTO
    assert "softdpu stop" in str(refused.value)


async def test_a_datapath_that_ends_meanwhile_is_a_sentence(link: DatapathLink, far: Far) -> None:
    far.link.close()
    with pytest.raises(DatapathError, match="its log says why"):
        await link.attach()


async def test_a_datapath_that_says_nothing_is_not_waited_for(
    link: DatapathLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ATTACH_WITHIN", 0)
    with pytest.raises(DatapathError, match="it hangs"):
        await link.attach()


async def test_requests_are_answered(link: DatapathLink, far: Far) -> None:
    link.serve()
    far.send(READ, Event(function=1, request=8, kind="reset", queue=0, cause=""))
    replies = [await asyncio.to_thread(far.heard) for _ in range(2)]
    assert [(reply.function, reply.request) for reply in replies] == [(0, 7), (1, 8)]


async def test_noise_is_passed_over(link: DatapathLink, far: Far, caplog: pytest.LogCaptureFixture) -> None:
    link.serve()
    far.send(b"\xff", READ)
    assert (await asyncio.to_thread(far.heard)).request == 7
    assert "what is no message" in caplog.text


async def test_asking_waits_for_its_own_ticket(link: DatapathLink, far: Far) -> None:
    link.serve()
    first, second = (asyncio.create_task(link.ask(Destroy(ticket, 0))) for ticket in (1, 2))
    await asyncio.sleep(0)
    far.send(Done(99, 0, ""), Done(2, errno.ENOENT, "there is no function 0"), Done(1, 0, ""))
    await first
    with pytest.raises(DatapathError, match="there is no function 0") as refused:
        await second
    assert refused.value.errno == errno.ENOENT


async def test_where_a_function_stands_is_seen_before_what_comes_after(ends: tuple[socket.socket, Far]) -> None:
    order: list[object] = []

    def note(request: Request) -> Answer:
        order.append(request)
        return answer(request)

    link = DatapathLink(ends[0], note, lambda: None)
    link.serve()
    asked = asyncio.create_task(link.standing(0, order.append))
    await asyncio.sleep(0)
    question = await asyncio.to_thread(ends[1].heard)
    standing = Standing((QueueStanding(1, 7),), isr=1)
    ends[1].send(Positioned(question.ticket, standing), READ)
    await asked
    assert order == [standing, READ]


async def test_a_mistake_of_whoever_asks_is_theirs(link: DatapathLink, far: Far) -> None:
    link.serve()
    asked = asyncio.create_task(link.standing(0, lambda _: 1 // 0))
    await asyncio.sleep(0)
    far.send(Positioned((await asyncio.to_thread(far.heard)).ticket, Standing()), READ)
    with pytest.raises(ZeroDivisionError):
        await asked
    assert (await asyncio.to_thread(far.heard)).request == 7


async def test_whoever_waits_is_told_that_the_datapath_has_gone(
    link: DatapathLink, far: Far, closed: list[str]
) -> None:
    link.serve()
    asked = asyncio.create_task(link.ask(Destroy(1, 0)))
    await asyncio.sleep(0)
    far.link.close()
    with pytest.raises(DatapathError, match="has gone"):
        await asked
    assert closed == ["closed"]
    with pytest.raises(DatapathError, match="has gone"):
        await link.ask(Destroy(2, 0))


async def test_cancelled_requests_are_forgotten(link: DatapathLink, far: Far) -> None:
    link.serve()
    asked = asyncio.create_task(link.ask(Destroy(1, 0)))
    await asyncio.sleep(0)
    asked.cancel()
    far.send(Done(1, 0, ""), READ)
    await asyncio.to_thread(far.heard)
    assert (await asyncio.to_thread(far.heard)).request == 7


async def test_descriptors_wait_with_their_message(link: DatapathLink, far: Far) -> None:
    """The caller closes its own at once; what waits for room in the socket is a copy, and is closed when sent."""
    before = descriptors_open()
    read, write = os.pipe()
    for number in range(2000):  # more than the socket holds
        link.send(Destroy(number, 0), [write] if number == 1999 else [])
    os.close(write)
    descriptors: list[int] = []
    for _ in range(2000):
        _, came, _, _ = await asyncio.to_thread(socket.recv_fds, far.link, 1 << 16, 1)
        descriptors += came
    assert len(descriptors) == 1
    os.write(descriptors[0], b"!")
    assert os.read(read, 1) == b"!"
    for descriptor in (read, *descriptors):
        os.close(descriptor)
    assert descriptors_open() == before


async def test_an_answer_that_is_too_long_is_an_error_to_the_guest(link: DatapathLink, far: Far) -> None:
    link.send(Answer(3, 4, 0, bytes(2 << 20), None, ()))
    reply = await asyncio.to_thread(far.heard)
    assert (reply.function, reply.request, reply.errno) == (3, 4, errno.EMSGSIZE)


async def test_a_state_of_half_a_megabyte_goes_in_one_packet(link: DatapathLink, far: Far) -> None:
    if os.geteuid() != 0:
        pytest.skip("widening a socket beyond the system's bound takes root")
    link.send(Answer(3, 4, 0, b"", bytes(1 << 19), ()))
    assert len((await asyncio.to_thread(far.heard)).state) == 1 << 19


def test_without_counters_all_are_zero(link: DatapathLink) -> None:
    assert set(link.function_counters(0).values()) == {0}
    assert set(link.queue_counters(0, 64).values()) == {0}
