"""A tree of files, mounted: FUSE's questions answered from ``softdpu.host.simulated.tree``."""

import errno
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import mfusepy

from softdpu.host.simulated.tree import Directory, File, Link, Node, find

SHOWN_SIZE = 4096  # bytes that attributes claim to have, as those of sysfs do
FORGET_AT_ONCE = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}


class Files(mfusepy.Operations):  # type: ignore[misc]  # mfusepy has no annotations for its base
    """Serves a tree. One question at a time: the kernel behind it is no place for threads."""

    use_ns = True

    def __init__(self, root: Directory, told: Callable[[str], None]) -> None:
        """``told`` is called with a sentence for each write that is refused: an errno alone explains little."""
        self._root = root
        self._told = told
        self._turn = threading.Lock()
        self._handles = itertools.count(1)
        self._open: dict[int, bytes] = {}
        self._born = time.time_ns()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """What kind of node it is."""
        with self._turn:
            node = find(self._root, path)
        kind, size = _kind(node)
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), self._born)
        return {"st_mode": kind, "st_nlink": 2 if isinstance(node, Directory) else 1, "st_size": size, **times}

    def readdir(self, path: str, fh: int) -> Iterator[str]:
        """Names in a directory."""
        with self._turn:
            node = find(self._root, path)
            if not isinstance(node, Directory):
                raise OSError(errno.ENOTDIR, path)
            names = list(node.list())
        yield from (".", "..", *names)

    def readlink(self, path: str) -> str:
        """Where a link leads."""
        with self._turn:
            node = find(self._root, path)
        if not isinstance(node, Link):
            raise OSError(errno.EINVAL, path)
        return node.target

    def open(self, path: str, flags: int) -> int:
        """What is read is the content at this moment."""
        with self._turn:
            node = _file(find(self._root, path))
            wanted = flags & os.O_ACCMODE
            if (wanted != os.O_RDONLY and not node.write) or (wanted != os.O_WRONLY and not node.read):
                raise OSError(errno.EACCES, path)
            handle = next(self._handles)
            self._open[handle] = node.read() if node.read and wanted != os.O_WRONLY else b""
        return handle

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """A part of it."""
        return self._open.get(fh, b"")[offset : offset + size]

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """One order. What the kernel refuses is the errno of write(2)."""
        with self._turn:
            node = _file(find(self._root, path))
            if node.write is None:
                raise OSError(errno.EACCES, path)
            try:
                node.write(data)
            except OSError as error:
                self._told(f"{path}: {error.strerror}")
                raise
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """``echo x > attribute`` asks for it first; it means nothing here."""
        return 0

    def release(self, path: str, fh: int) -> int:
        """Nobody reads it any more."""
        self._open.pop(fh, None)
        return 0


def serve(root: Directory, mountpoint: str, told: Callable[[str], None]) -> None:
    """Mounts the tree and answers until it is unmounted, or the process gets SIGTERM. Raises RuntimeError."""
    mfusepy.FUSE(
        Files(root, told), mountpoint, foreground=True, direct_io=True, fsname="softdpu-host", **FORGET_AT_ONCE
    )


def _kind(node: Node) -> tuple[int, int]:
    match node:
        case Directory():
            return stat.S_IFDIR | 0o755, 0
        case Link():
            return stat.S_IFLNK | 0o777, len(node.target)
        case File():
            return stat.S_IFREG | node.mode, SHOWN_SIZE


def _file(node: Node) -> File:
    if not isinstance(node, File):
        raise OSError(errno.EISDIR, "not a file")
    return node
