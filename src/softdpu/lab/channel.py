"""The line protocol between a test and the agent in its guest, without the serial port: bytes in, replies out."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

MAX_COMMAND = 48 << 10
"""Bytes of one command; the agent's shell reads a request as one line, a byte at a time."""


@dataclass(frozen=True)
class Hello:
    """The agent is up, in a guest that has just booted kernel `release`."""

    release: str


@dataclass(frozen=True)
class Done:
    """Command `number` has ended."""

    number: int
    status: int
    output: bytes


@dataclass(frozen=True)
class Part:
    """What command `number` has written so far."""

    number: int
    output: bytes


Reply = Hello | Done | Part


def run(number: int, command: str) -> bytes:
    """Asks the agent to run a shell command under `number`; ValueError if it is too long."""
    text = command.encode()
    if len(text) > MAX_COMMAND:
        raise ValueError(f"a command may have {MAX_COMMAND} bytes, this one has {len(text)}")
    return b"run %d %s\n" % (number, base64.b64encode(text))


def peek(number: int) -> bytes:
    """Asks what a running command has written so far."""
    return b"peek %d\n" % number


def kill(number: int) -> bytes:
    """Asks to end a running command and all that it started."""
    return b"kill %d\n" % number


class Replies:
    """Collects the agent's bytes into replies."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Reply]:
        """Takes what the serial port gave, returns the replies that are complete.

        Lines that are none are passed over: a guest that resets breaks off where it is, and its firmware may write too.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [reply for reply in map(_parse, lines) if reply is not None]


def _parse(line: bytes) -> Reply | None:
    # A line cut short by a reset has the next boot's greeting at its end.
    words = line[line.rfind(b"hello ") :].split() if b"hello " in line else line.split()
    try:
        match words:
            case [b"hello", release]:
                return Hello(release.decode())
            case [b"done", number, status, *body]:
                return Done(int(number), int(status), base64.b64decode(b"".join(body), validate=True))
            case [b"part", number, *body]:
                return Part(int(number), base64.b64decode(b"".join(body), validate=True))
    except (ValueError, binascii.Error):
        pass
    return None
