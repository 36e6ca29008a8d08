"""The datapath process: found, started, and joined again after the controller was restarted."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BINARY = "softdpu-datapath"
COMM_LENGTH = 15  # bytes of a process's name that the kernel keeps
PF_EXITING = 0x4  # linux/sched.h: of the flags in /proc/PID/stat


class DatapathUnavailable(RuntimeError):
    """The datapath process cannot be started or joined; the text says what to do."""


def binary() -> Path:
    """The datapath's executable: SOFTDPU_DATAPATH, else beside the Python that runs, else in PATH."""
    named = os.environ.get("SOFTDPU_DATAPATH")
    beside = Path(sys.prefix) / "bin" / BINARY
    found = named or (str(beside) if beside.exists() else shutil.which(BINARY))
    if not found or not Path(found).exists():
        raise DatapathUnavailable(
            f"the datapath program {found or BINARY} is not installed: run make install, or set SOFTDPU_DATAPATH to it."
        )
    return Path(found)


def connect(path: Path) -> socket.socket | None:
    """A connection to the datapath that listens at ``path``, or None when none does."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        link.close()
        return None
    link.setblocking(False)
    return link


def start(path: Path, log: Path, arguments: Sequence[str] = ()) -> int:
    """Start a datapath that listens at ``path`` and logs to ``log``; its pid.

    It gets a session of its own, so what ends the controller does not end it.
    """
    program = binary()
    path.unlink(missing_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _listener(path) as listener, log.open("ab") as output:
            child = subprocess.Popen(
                [program, "--control-fd", str(listener.fileno()), *arguments],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            _note(path).write_text(f"{child.pid}\n")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DatapathUnavailable(
            f"the datapath {program} cannot be started ({error}): make install builds it anew."
        ) from error
    return child.pid


def _note(path: Path) -> Path:
    """Where it stands which process listens at ``path``."""
    return path.with_suffix(".pid")


def ending(path: Path) -> int:
    """The pid of a datapath that was killed while it listened at ``path`` and may not be over yet; 0 if there is none.

    The kernel takes its taps one by one, some 20 ms each, and its sockets last: who connects waits for all of that.
    """
    try:
        pid = int(_note(path).read_text())
        name, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except (OSError, ValueError):
        return 0
    named, flags = name.endswith(f"({BINARY[:COMM_LENGTH]}"), int(fields.split()[6])
    return pid if named and flags & PF_EXITING else 0


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(4)
    return listener


def remove(path: Path) -> None:
    """Remove the socket of a datapath that does not listen any more."""
    path.unlink(missing_ok=True)
    _note(path).unlink(missing_ok=True)


async def ended(pid: int, seconds: float = 5.0) -> None:
    """Wait until a datapath that ends has ended, whoever started it: only then are its taps free."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return  # there is none
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process, over.set)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await over.wait()
    finally:
        loop.remove_reader(process)
        os.close(process)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # ours or init's


async def join(path: Path, log: Path, arguments: Sequence[str] = ()) -> tuple[socket.socket, bool]:
    """A connection to the datapath at ``path``, started when there is none, and whether it was started now.

    Raises DatapathUnavailable when it ends at once or does not listen.
    """
    if link := connect(path):
        return link, False
    start(path, log, arguments)
    if link := connect(path):
        return link, True
    remove(path)
    raise DatapathUnavailable(f"the datapath was started and does not listen at {path}: its log is {log}.")
