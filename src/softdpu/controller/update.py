"""Live update: the installed version takes over from the running one, and how long that took.

Before the running one leaves, the installed one must show that it can start: if it cannot, nothing else has happened.
"""

import asyncio
import importlib.metadata
import subprocess
import sys
import time
from typing import Any

import msgspec

from softdpu import __version__
from softdpu.controller import durable
from softdpu.controller.root import Root

FILE = "update.json"
REHEARSAL = 30.0  # seconds that the installed version gets to show that it can start


class Progress(msgspec.Struct, frozen=True):
    """A live update, as its file under the run directory tells."""

    started: float  # seconds of the monotonic clock, which all processes share
    seconds: float = 0.0
    result: str = ""  # empty while it runs


class LiveUpdate:
    """The last live update of this root."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._path = root.run / FILE
        self._progress = self._read()

    def _read(self) -> Progress | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Progress)
        except (OSError, msgspec.MsgspecError):
            return None

    def _write(self, progress: Progress) -> None:
        durable.replace(self._path, msgspec.json.encode(progress))
        self._progress = progress

    @property
    def running(self) -> bool:
        """Whether one is under way."""
        return self._progress is not None and not self._progress.result

    def start(self) -> None:
        """Remember when it began; the process is replaced next. Raises NotWritten."""
        self._write(Progress(started=time.monotonic()))

    async def rehearse(self) -> str:
        """Why the installed version cannot start; empty when it can. Its program runs up to where it would serve."""
        command = [sys.executable, "-m", "softdpu.daemon", "--rehearse", "--root", str(self._root.path)]
        pipe = subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
        except OSError as error:
            return str(error)
        try:
            async with asyncio.timeout(REHEARSAL):
                _, said = await process.communicate()
        except BaseException as error:
            process.kill()
            await process.wait()
            if not isinstance(error, TimeoutError):
                raise
            return f"it did not come to the point of serving within {REHEARSAL:.0f} s"
        lines = said.decode(errors="replace").strip().splitlines() or [f"it ended with status {process.returncode}"]
        return lines[-1] if process.returncode else ""

    def finish(self) -> None:
        """The new process serves: the update, if there was one, is done. Raises NotWritten; it is done all the same."""
        self._end("success")

    def fail(self) -> None:
        """The new process does not serve: the update, if there was one, is over. Raises NotWritten."""
        self._end("failure")

    def _end(self, result: str) -> None:
        if self._progress is not None and not self._progress.result:
            seconds = max(0.0, time.monotonic() - self._progress.started)  # the machine may have been booted since
            self._progress = Progress(self._progress.started, seconds, result)
            self._write(self._progress)

    def status(self) -> dict[str, Any]:
        """As ``virtnet update -t`` shows it."""
        last = self._progress
        return {
            "current status": "active" if self.running else "inactive",
            "last status": (last.result or "none") if last else "none",
            "time_used (s)": round(last.seconds, 6) if last else 0.0,
        }

    def abandoned(self) -> dict[str, Any]:
        """What is different in the status when no controller lives to end the update."""
        return {"current status": "inactive", "last status": "failure"} if self.running else {}

    @staticmethod
    def installed_version() -> str:
        """The version on disk: what an update would start."""
        try:
            return importlib.metadata.version("softdpu")
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            return __version__
