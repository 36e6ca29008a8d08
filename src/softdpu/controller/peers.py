"""Who is at the other end of a function's socket: a process, by its id and the name of its program."""

import re
from pathlib import Path

PROC = Path("/proc")
WORDS = 4  # of a command line that may name the program: a loader and its options come before it
_PID = re.compile(r"pid (\d+)")


def named(cause: str, proc: Path = PROC) -> str:
    """``qemu-system-x86_64 (pid 12)`` for the datapath's ``pid 12``; as much of it as can be found out."""
    found = _PID.fullmatch(cause)
    if found is None or not int(found[1]):
        return ""  # a process that this one cannot see
    name = _program(proc / found[1])
    return f"{name} ({cause})" if name else cause


def is_qemu(peer: str) -> bool:
    """Whether ``named`` said that it is a QEMU."""
    return peer.startswith("qemu")


def ended(peer: str, proc: Path = PROC) -> bool:
    """Whether the process that ``named`` was asked about is known to be over: its socket closes, or just has."""
    found = _PID.search(peer)
    if found is None:
        return False
    try:
        return (proc / found[1] / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _program(process: Path) -> str:
    """The first word that names a QEMU, else the first word; empty when the process is gone."""
    try:
        words = (process / "cmdline").read_bytes()[:4096].split(b"\0")[:WORDS]
    except OSError:
        return ""
    names = [word.rpartition(b"/")[2].decode(errors="replace") for word in words]
    return next((name for name in names if name.startswith("qemu")), names[0])
