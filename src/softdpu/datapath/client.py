"""The controller's end of the datapath's socket: packets in, messages out; tickets for what the controller asks."""

import asyncio
import collections
import itertools
import mmap
import os
import socket
from collections.abc import Callable, Sequence

import msgspec

from softdpu.datapath import counters
from softdpu.datapath.messages import (
    FUNCTIONS,
    PROTOCOL,
    Access,
    Answer,
    Attached,
    AttachedAll,
    Command,
    Create,
    Destroy,
    Done,
    Event,
    FromController,
    FromDatapath,
    Hello,
    Shutdown,
    Update,
)

PACKET = 1 << 20  # bytes; longer than any message
BURST = 64  # messages taken a turn of the loop, so that the rest of the controller runs too
Request = Access | Command | Event


class DatapathError(RuntimeError):
    """The datapath refused something; errno and its reason."""

    def __init__(self, errno: int, reason: str) -> None:
        super().__init__(reason)
        self.errno = errno


class DatapathLink:
    """One connection to the datapath. ``on_request`` answers; ``on_close`` is told when the datapath has gone."""

    def __init__(
        self, link: socket.socket, on_request: Callable[[Request], Answer], on_close: Callable[[], None]
    ) -> None:
        self._link = link
        self._on_request = on_request
        self._on_close = on_close
        self._decoder = msgspec.msgpack.Decoder(FromDatapath)
        self._encoder = msgspec.msgpack.Encoder()
        self._tickets = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._out: collections.deque[tuple[bytes, Sequence[int]]] = collections.deque()
        self._counters: mmap.mmap | None = None
        self.pid = 0

    async def attach(self) -> list[Attached]:
        """Read Hello and the functions that are served already; requests are answered from then on."""
        functions: list[Attached] = []
        while True:
            match await self._next():
                case Hello(protocol=protocol, pid=pid):
                    self._check(protocol)
                    self.pid = pid
                case Attached() as function:
                    functions.append(function)
                case AttachedAll():
                    return functions

    def serve(self) -> None:
        """Answer requests from the loop."""
        asyncio.get_running_loop().add_reader(self._link, self._readable)

    async def _next(self) -> FromDatapath:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._link, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._link)
        message = self._receive()
        if message is None:
            raise DatapathError(104, "the datapath ended while the controller attached: its log says why.")
        return message

    @staticmethod
    def _check(protocol: int) -> None:
        if protocol != PROTOCOL:
            raise DatapathError(
                71, f"the running datapath speaks protocol {protocol}, this controller {PROTOCOL}: run softdpu stop."
            )

    def _receive(self) -> FromDatapath | None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._link, PACKET, 1)
        except ConnectionError:
            return None
        if descriptors:
            self._map(descriptors[0])
        return self._decoder.decode(packet) if packet else None

    def _map(self, descriptor: int) -> None:
        try:
            self._counters = mmap.mmap(
                descriptor, counters.SLOT_BYTES * FUNCTIONS, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED
            )
        finally:
            os.close(descriptor)

    def _readable(self) -> None:
        for _ in range(BURST):
            try:
                message = self._receive()
            except BlockingIOError:
                return
            if message is None:
                self._closed()
                return
            self._dispatch(message)

    def _dispatch(self, message: FromDatapath) -> None:
        match message:
            case Access() | Command() | Event():
                self.send(self._on_request(message))
            case Done(ticket=ticket, errno=errno, reason=reason):
                waiting = self._waiting.pop(ticket, None)
                if waiting is not None and not waiting.done():
                    self._finish(waiting, errno, reason)

    @staticmethod
    def _finish(waiting: "asyncio.Future[None]", errno: int, reason: str) -> None:
        if errno:
            waiting.set_exception(DatapathError(errno, reason))
        else:
            waiting.set_result(None)

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
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(DatapathError(104, "the datapath has gone."))
        self._waiting.clear()

    def ticket(self) -> int:
        """A number for a request of the controller."""
        return next(self._tickets)

    async def ask(self, message: Create | Update | Destroy | Shutdown, descriptors: Sequence[int] = ()) -> None:
        """Send a request and wait until the datapath has done it. Raises DatapathError."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[message.ticket] = waiting
        self.send(message, descriptors)
        await waiting

    def send(self, message: FromController, descriptors: Sequence[int] = ()) -> None:
        """Queue a message; descriptors must stay open until it is sent, which is at once unless the socket is full."""
        if self._link.fileno() < 0:
            return
        self._out.append((self._encoder.encode(message), descriptors))
        self._flush()

    def _flush(self) -> None:
        while self._out:
            packet, descriptors = self._out[0]
            try:
                socket.send_fds(self._link, [packet], list(descriptors))
            except BlockingIOError:
                asyncio.get_running_loop().add_writer(self._link, self._flush)
                return
            except OSError:  # the datapath has gone; the reader says so
                self._out.clear()
                break
            self._out.popleft()
        asyncio.get_running_loop().remove_writer(self._link)

    def row(self, function: int, row: int) -> list[int]:
        """The counters of a function (row 0) or of its queue n (row 1 + n), in the order of their declaration."""
        if self._counters is None:
            return [0] * counters.ROW
        start = function * counters.SLOT_BYTES + row * counters.ROW * 8
        return list(memoryview(self._counters[start : start + counters.ROW * 8]).cast("Q"))

    def function_counters(self, function: int) -> dict[str, int]:
        """Counters of a function by name."""
        return dict(zip(counters.FUNCTION_COUNTERS, self.row(function, 0), strict=False))

    def queue_counters(self, function: int, queue: int) -> dict[str, int]:
        """Counters of a queue by name."""
        return dict(zip(counters.QUEUE_COUNTERS, self.row(function, 1 + queue), strict=False))
