"""A program with a prompt, on a socket of its own: a line in, its answer back."""

import os
import re
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence

from softdpu.lab.peers.errors import PeerError

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")
# A peer must not outlive whoever started it, whatever kills that.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
# A terminal would pass on what is said only when a thread of the kernel gets a core, which real-time threads on every
# core keep from it. To a socket a program says nothing before its buffer is full, unless it is told to.
_BY_LINES = ("stdbuf", "--output=L", "--error=L")


class Prompt:
    """Runs ``command`` and waits for its ``prompt`` after each line."""

    def __init__(self, command: Sequence[str], prompt: str, environment: Mapping[str, str]) -> None:
        self._program, self._prompt = command[0], prompt
        self._text = ""
        self._ended = False
        self._changed = threading.Condition()
        self._socket, other = socket.socketpair()
        with other:
            self.process = subprocess.Popen(
                [*DIE_WITH_PARENT, *_BY_LINES, *command],
                stdin=other.fileno(),
                stdout=other.fileno(),
                stderr=other.fileno(),
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """All it has said."""
        return _ESCAPES.sub("", self._text)

    def answer(self, line: str | None, timeout: float) -> str:
        """What it says after ``line``, or from its start when that is None. Raises PeerError."""
        with self._changed:
            start = 0 if line is None else len(self._text)
            if line is not None:
                self._type(line + "\n")
            if not self._changed.wait_for(lambda: self._ended or self._prompt in self._text[start:], timeout):
                raise PeerError(f"{self._program} did not answer {line!r} in {timeout:g} s:\n{self._last()}")
            if self._ended:
                raise PeerError(f"{self._program} ended:\n{self._last()}")
            said = _ESCAPES.sub("", self._text[start:]).replace(self._prompt, "")
        return said.removeprefix(line or "").strip("\n")

    def close(self, farewell: str, timeout: float = 10.0) -> None:
        """Ask it to end, and make it end."""
        try:
            if self.process.poll() is None:
                self._type(farewell + "\n")
                self.process.wait(timeout)
        except (subprocess.TimeoutExpired, OSError):
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self._socket.close()

    def _type(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def _read(self) -> None:
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:  # it ended before it had read all
                data = b""
            with self._changed:
                self._text += data.decode(errors="replace")
                self._ended = not data
                self._changed.notify_all()
            if not data:
                return

    def _last(self) -> str:
        return "\n".join(self.text.splitlines()[-15:])
