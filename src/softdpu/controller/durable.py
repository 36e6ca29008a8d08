"""Small files that a power failure, a full disk or a crash leave either old or new, never half written."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from softdpu.controller.errors import OperatorError


class NotWritten(OperatorError):
    """A file could not be written; the one that was there is as it was."""

    def __init__(self, path: Path, error: OSError) -> None:
        reason = os.strerror(error.errno) if error.errno else str(error)
        super().__init__(
            error.errno or errno.EIO,
            f"{path} cannot be written ({reason}): free space there, or make the place writable, then try again.",
        )


def replace(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write beside, sync, rename. Raises NotWritten, and leaves nothing beside.

    Without ``sync`` the file is whole as long as the machine runs.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(beside, content, sync=sync)
        beside.replace(path)
        if sync:
            _sync(path.parent)
    except OSError as error:
        _drop(beside)
        raise NotWritten(path, error) from error


def remove(path: Path) -> None:
    """Remove a file, if it is there. Raises NotWritten."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise NotWritten(path, error) from error


def _write(path: Path, content: bytes, *, sync: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _drop(path: Path) -> None:
    with suppress(OSError):  # the error that is told is the first one
        path.unlink(missing_ok=True)
