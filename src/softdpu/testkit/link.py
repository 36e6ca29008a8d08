"""A blocking unix socket that carries bytes and descriptors: what both protocols of the test kit stand on."""

import array
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

MAX_FDS: Final = 16  # file descriptors that we take with one message


class Disconnected(ConnectionError):
    """The device closed the connection."""


class ProtocolBroken(Exception):
    """The device sent something that the protocol does not allow at this moment."""


class RequestFailed(OSError):
    """The device answered a request with an error; ``errno`` is what it said."""


class Link:
    """A connection to a device. Timeouts are seconds; after a TimeoutError the connection is of no use any more."""

    def __init__(self, where: Path | str | socket.socket, timeout: float = 5.0) -> None:
        self.socket = where if isinstance(where, socket.socket) else _connect(str(where), timeout)
        self.socket.settimeout(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave: for the device, the VMM has gone."""
        self.socket.close()

    def send_bytes(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send bytes as they are; descriptors go with the first of them. Raises Disconnected."""
        try:
            sent = socket.send_fds(self.socket, [data], list(fds)) if fds else 0
            if rest := data[sent:]:  # a send of nothing is an error too, when the device has hung up already
                self.socket.sendall(rest)
        except (BrokenPipeError, ConnectionResetError) as gone:
            raise Disconnected("the device closed the connection") from gone

    def receive_bytes(self, count: int) -> tuple[bytes, tuple[int, ...]]:
        """Exactly ``count`` bytes, and the descriptors that came with them. Raises Disconnected, TimeoutError."""
        fds: list[int] = []
        data = b""
        try:
            while len(data) < count:
                more, new = _receive_fds(self.socket, count - len(data))
                data += more
                fds += new
        except BaseException:  # nobody gets those of a message that was cut off
            for fd in fds:
                os.close(fd)
            raise
        return data, tuple(fds)

    def disconnected(self) -> bool:
        """Wait until the device closes the connection; False when it says something, or nothing in time."""
        try:
            self.receive_bytes(1)
        except Disconnected:
            return True
        except TimeoutError:
            return False
        return False


def _connect(path: str, timeout: float) -> socket.socket:
    """Blocking, since a full backlog is an error at once (EAGAIN) to a socket that does not block."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    seconds, fraction = divmod(timeout, 1)
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(seconds), int(fraction * 1e6)))
        link.connect(path)
    except BlockingIOError as full:
        link.close()
        raise TimeoutError(f"nobody accepts connections at {path} within {timeout} s") from full
    except BaseException:
        link.close()
        raise
    return link


def _receive_fds(link: socket.socket, count: int) -> tuple[bytes, list[int]]:
    room = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)
    try:
        data, ancillary, _, _ = link.recvmsg(count, room, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError as gone:
        raise Disconnected("the device closed the connection") from gone
    if not data:
        raise Disconnected("the device closed the connection")
    fds = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, fds.tolist()
