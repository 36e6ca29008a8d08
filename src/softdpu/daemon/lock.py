"""The lock of a root: one controller, and its successor by exec, which inherits it so that no other comes between."""

import errno
import fcntl
import os
import time
from typing import TextIO

from softdpu.controller.errors import OperatorError
from softdpu.controller.root import Root

INHERITED = "SOFTDPU_LOCK_FD"
TRIES, STEP = 10, 0.02  # a command that only looks whether the lock is held has it for a moment


class AlreadyRunning(OperatorError):
    """A root has one controller."""

    def __init__(self, root: Root, pid: str) -> None:
        super().__init__(
            errno.EEXIST,
            f"another controller (pid {pid or 'unknown'}) serves the root {root.path}: stop it with softdpu stop, "
            "or give this one a root of its own with --root.",
        )


def hold(root: Root) -> TextIO:
    """The root's lock, held while the returned file is open. Raises AlreadyRunning."""
    root.run.mkdir(parents=True, exist_ok=True)
    file = _inherited(root) or root.lock.open("a+")
    try:
        _lock(file, root)
    except BaseException:
        file.close()
        raise
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def pass_on(file: TextIO) -> None:
    """Let the program that replaces this one by exec hold the lock on."""
    os.set_inheritable(file.fileno(), True)
    os.environ[INHERITED] = str(file.fileno())


def _inherited(root: Root) -> TextIO | None:
    """What the last program of this process passed on, if it is this root's lock."""
    descriptor = os.environ.pop(INHERITED, "")
    try:
        if not os.path.samestat(os.fstat(int(descriptor)), root.lock.stat()):
            return None
    except (ValueError, OSError):
        return None
    os.set_inheritable(int(descriptor), False)
    return os.fdopen(int(descriptor), "a+")


def _lock(file: TextIO, root: Root) -> None:
    for attempt in range(TRIES):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(STEP if attempt + 1 < TRIES else 0)
    file.seek(0)
    raise AlreadyRunning(root, file.read().strip())
