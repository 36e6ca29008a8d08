"""The controller's end of the datapath's socket: packets in, messages out; tickets for what the controller asks."""

import asyncio
import collections
import errno
import itertools
import logging
import mmap
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from softdpu.datapath import counters
from softdpu.datapath.messages import (
    FUNCTIONS,
    PROTOCOL,
    UPLINKS,
    Access,
    Answer,
    Attached,
    AttachedAll,
    AttachedUplink,
    ChangeSwitch,
    ChangeUplink,
    Command,
    Connect,
    Create,
    Destroy,
    Done,
    Event,
    FromController,
    FromDatapath,
    Hello,
    JoinUplink,
    LeaveUplink,
    Migrate,
    Negotiated,
    Positioned,
    Positions,
    Shutdown,
    Update,
)
from softdpu.virtio.standing import Standing

PACKET = 1 << 20  # bytes; longer than any message
SO_SNDBUFFORCE = 32  # asm-generic/socket.h
OVERHEAD = 64  # bytes that the kernel wants of a socket's buffer beside a packet's
BURST = 64  # messages taken a turn of the loop, so that the rest of the controller runs too
ATTACH_WITHIN = 30.0  # seconds until one that says nothing counts as hung; 500 taps of one that was killed take 15
GONE = "the datapath has gone: it is started again; try once more in a second."
log = logging.getLogger("softdpu.datapath")
Request = Access | Command | Event | Migrate
Wish = (
    Create | Update | Connect | Destroy | Shutdown | JoinUplink | ChangeUplink | LeaveUplink | ChangeSwitch | Positions
)
T = TypeVar("T")


class DatapathError(RuntimeError):
    """The datapath refused something; errno and its reason."""

    def __init__(self, errno: int, reason: str) -> None:
        super().__init__(reason)
        self.errno = errno


class DatapathLink:
    """One connection to the datapath. ``on_close`` is told when the datapath has gone.

    ``on_request`` answers, or returns nothing and has the answer sent later.
    ``on_negotiated`` is told how far a vhost-user function has come; nothing is answered.
    """

    def __init__(
        self,
        link: socket.socket,
        on_request: Callable[[Request], Answer | None],
        on_close: Callable[[], None],
        on_negotiated: Callable[[Negotiated], None] = lambda _: None,
    ) -> None:
        self._link = link
        self._longest = _widen(link)
        self._on_request = on_request
        self._on_close = on_close
        self._on_negotiated = on_negotiated
        self._decoder = msgspec.msgpack.Decoder(FromDatapath)
        self._encoder = msgspec.msgpack.Encoder()
        self._tickets = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._seen: dict[int, Callable[[Standing], object]] = {}  # by ticket: what to do at once with the answer
        self._out: collections.deque[tuple[bytes, list[int]]] = collections.deque()
        self._counters: mmap.mmap | None = None
        self.pid = 0
        self.representors: dict[int, int] = {}  # descriptors of functions that were served already: the caller's
        self.uplinks: dict[int, AttachedUplink] = {}  # those that the datapath had already

    async def attach(self) -> list[Attached]:
        """Read Hello and the functions that are served already; ``serve`` comes next. Raises DatapathError."""
        try:
            async with asyncio.timeout(ATTACH_WITHIN):
                return await self._attach()
        except TimeoutError as error:
            raise DatapathError(
                errno.ETIMEDOUT,
                f"the running datapath did not say a word within {ATTACH_WITHIN:.0f} s: it hangs, see its log, and "
                "end it with softdpu stop.",
            ) from error
        except msgspec.MsgspecError as error:
            raise DatapathError(
                errno.EPROTO, f"the running datapath is not understood ({error}): end it with softdpu stop."
            ) from error

    async def _attach(self) -> list[Attached]:
        functions: list[Attached] = []
        while True:
            match await self._next():
                case Hello(protocol=protocol, pid=pid):
                    self._check(protocol)
                    self.pid = pid
                case Attached() as function:
                    functions.append(function)
                case AttachedUplink() as uplink:
                    self.uplinks[uplink.uplink] = uplink
                case AttachedAll():
                    return functions

    def serve(self) -> None:
        """Answer requests from the loop."""
        asyncio.get_running_loop().add_reader(self._link, self._readable)

    async def _next(self) -> FromDatapath:
        while True:
            await self._readiness()
            try:
                message = self._receive()
            except BlockingIOError:
                continue
            if message is None:
                raise DatapathError(
                    errno.ECONNRESET, "the datapath ended while the controller attached: its log says why."
                )
            return message

    async def _readiness(self) -> None:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._link, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._link)

    @staticmethod
    def _check(protocol: int) -> None:
        if protocol != PROTOCOL:
            raise DatapathError(
                errno.EPROTO,
                f"the running datapath speaks protocol {protocol}, this controller {PROTOCOL}: run softdpu stop.",
            )

    def _receive(self) -> FromDatapath | None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._link, PACKET, 1)
        except ConnectionError:
            return None
        try:
            message = self._decoder.decode(packet) if packet else None
            if descriptors:
                self._take(message, descriptors.pop())
        finally:
            _close(descriptors)
        return message

    def _take(self, message: FromDatapath | None, descriptor: int) -> None:
        match message:
            case Hello(protocol=protocol) if protocol == PROTOCOL:
                self._map(descriptor)
            case Attached(function=function):
                self.representors[function] = descriptor
            case _:
                os.close(descriptor)

    def _map(self, descriptor: int) -> None:
        try:
            whole = 0  # a datapath of before may have less of it
            self._counters = mmap.mmap(descriptor, whole, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)
        finally:
            os.close(descriptor)

    def _readable(self) -> None:
        for _ in range(BURST):
            try:
                message = self._receive()
            except BlockingIOError:
                return
            except msgspec.MsgspecError as error:
                log.error("the datapath sent what is no message: %s", error)
                continue
            if message is None:
                self._closed()
                return
            self._dispatch(message)

    def _dispatch(self, message: FromDatapath) -> None:
        match message:
            case Access() | Command() | Event() | Migrate():
                if answer := self._on_request(message):
                    self.send(answer)
            case Negotiated():
                self._on_negotiated(message)
            case Done(ticket=ticket, errno=number, reason=reason):
                self._finish(ticket, DatapathError(number, reason) if number else None)
            case Positioned(ticket=ticket, standing=standing):
                self._tell(ticket, standing)

    def _tell(self, ticket: int, standing: Standing) -> None:
        if (seen := self._seen.get(ticket)) is None:
            return  # whoever asked was cancelled
        try:
            self._finish(ticket, None, seen(standing))
        except Exception as error:  # theirs who asked: others are served
            self._finish(ticket, error)

    def _finish(self, ticket: int, error: Exception | None, result: object = None) -> None:
        waiting = self._waiting.pop(ticket, None)
        if waiting is None or waiting.done():
            return  # whoever asked was cancelled
        if error is not None:
            waiting.set_exception(error)
        else:
            waiting.set_result(result)

    def _closed(self) -> None:
        self.close()
        self._on_close()

    def close(self) -> None:
        """Leave the datapath; it goes on."""
        if self._link.fileno() < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._link)
        loop.remove_writer(self._link)
        self._link.close()
        for _, descriptors in self._out:
            _close(descriptors)
        self._out.clear()
        for ticket in list(self._waiting):
            self._finish(ticket, DatapathError(errno.ECONNRESET, GONE))

    def ticket(self) -> int:
        """A number for a request of the controller."""
        return next(self._tickets)

    async def ask(self, message: Wish, descriptors: Sequence[int] = ()) -> None:
        """Send a request and wait until the datapath has done it. Raises DatapathError, also when it has gone."""
        await self._ask(message, descriptors)

    async def _ask(self, message: Wish, descriptors: Sequence[int] = ()) -> Any:
        if self._link.fileno() < 0:
            raise DatapathError(errno.ECONNRESET, GONE)
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[message.ticket] = waiting
        self.send(message, descriptors)
        return await waiting

    async def standing(self, function: int, seen: Callable[[Standing], T]) -> T:
        """Where a frozen function stands; raises DatapathError, EBUSY when it is not frozen.

        ``seen`` is called with it as soon as it is heard, and so before anything that the datapath has to say after it;
        what ``seen`` returns is returned.
        """
        ticket = self.ticket()
        self._seen[ticket] = seen
        try:
            result: T = await self._ask(Positions(ticket, function))
        finally:
            del self._seen[ticket]
        return result

    def send(self, message: FromController, descriptors: Sequence[int] = ()) -> None:
        """Queue a message. The descriptors stay the caller's; copies of them wait with it where the socket is full."""
        if self._link.fileno() < 0:
            return
        packet = self._encoder.encode(message)
        if len(packet) > self._longest:
            self._too_long(message, len(packet))
            return
        self._out.append((packet, [os.dup(descriptor) for descriptor in descriptors]))
        self._flush()

    def _too_long(self, message: FromController, length: int) -> None:
        """Nothing that is sent gets so long; were it otherwise, whoever waits is told."""
        log.error("a %s of %d bytes is longer than the socket to the datapath takes", type(message).__name__, length)
        if isinstance(message, Answer):
            self.send(Answer(message.function, message.request, errno.EMSGSIZE, b"", None, ()))
        else:
            self._finish(message.ticket, DatapathError(errno.EMSGSIZE, f"{length} bytes are too long a message."))

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._out:
            packet, descriptors = self._out[0]
            try:
                socket.send_fds(self._link, [packet], descriptors)
            except BlockingIOError:
                loop.add_writer(self._link, self._flush)
                return
            except OSError as error:  # the datapath has gone; the reader says so, after what it still has to read
                log.debug("not sent: %s", error)
            self._out.popleft()
            _close(descriptors)
        loop.remove_writer(self._link)

    def row(self, function: int, row: int) -> list[int]:
        """The counters of a function (row 0) or of its queue n (row 1 + n), in the order of their declaration."""
        if self._counters is None:
            return [0] * counters.ROW
        return self._row(function * counters.SLOT_BYTES + row * counters.ROW * 8)

    def _row(self, start: int) -> list[int]:
        assert self._counters is not None
        return list(memoryview(self._counters[start : start + counters.ROW * 8]).cast("Q"))

    def function_counters(self, function: int) -> dict[str, int]:
        """Counters of a function by name."""
        return dict(zip(counters.FUNCTION_COUNTERS, self.row(function, 0), strict=False))

    def isr(self, function: int) -> int:
        """The ISR bits of a function as they are."""
        return self.row(function, 0)[counters.ISR]

    def uplink_counters(self, uplink: int) -> dict[str, int]:
        """Counters of an uplink by name."""
        return self.function_counters(FUNCTIONS + uplink)

    def workers(self) -> list[dict[str, int]]:
        """What each worker shows of itself, by name: ``counters.WORKER_FIGURES``."""
        first = (FUNCTIONS + UPLINKS) * counters.SLOT_BYTES
        places = (first + number * counters.ROW * 8 for number in range(counters.WORKERS))
        there = [] if self._counters is None else [at for at in places if at < len(self._counters)]
        figures = (dict(zip(counters.WORKER_FIGURES, self._row(at), strict=False)) for at in there)
        return list(itertools.takewhile(lambda worker: worker["serves"], figures))

    def queue_counters(self, function: int, queue: int) -> dict[str, int]:
        """Counters of a queue by name."""
        return dict(zip(counters.QUEUE_COUNTERS, self.row(function, 1 + queue), strict=False))


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _widen(link: socket.socket) -> int:
    """Let a function's whole state go in one packet, as far as the system allows; the longest packet, in bytes."""
    try:
        link.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, PACKET)
    except PermissionError:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET)
    return min(PACKET, link.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - OVERHEAD)
