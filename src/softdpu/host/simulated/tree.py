"""A tree of files as a kernel's: nothing is stored, each read asks and each write acts. Pure."""

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class File:
    """``read`` makes its content; ``write`` takes what one write(2) says, and raises OSError as the kernel answers."""

    read: Callable[[], bytes] | None = None
    write: Callable[[bytes], None] | None = None

    @property
    def mode(self) -> int:
        """Permission bits."""
        return (0o444 if self.read else 0) | (0o200 if self.write else 0)


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Directory:
    """``list`` makes what is in it now."""

    list: Callable[[], Mapping[str, "Node"]]


Node: TypeAlias = File | Link | Directory


def fixed(entries: Mapping[str, Node]) -> Directory:
    """A directory whose names do not change."""
    return Directory(lambda: entries)


def text(value: Callable[[], object], write: Callable[[str], None] | None = None) -> File:
    """An attribute: one line each way."""

    def line() -> bytes:
        return f"{value()}\n".encode()

    return File(line, None if write is None else lambda data: write(said(data)))


def order(act: Callable[[str], None]) -> File:
    """An attribute that is only written."""
    return File(None, lambda data: act(said(data)))


def said(data: bytes) -> str:
    """What a write says, as kernels take it: up to the newline. Raises OSError EINVAL for what is no text."""
    try:
        return data.decode("ascii").rstrip("\0").strip()
    except UnicodeDecodeError:
        raise OSError(errno.EINVAL, "an attribute takes text") from None


def find(root: Directory, path: str) -> Node:
    """The node at ``/a/b/c``. Raises OSError ENOENT, ENOTDIR."""
    node: Node = root
    for name in filter(None, path.split("/")):
        if not isinstance(node, Directory):
            raise OSError(errno.ENOTDIR, f"{name} is below no directory")
        entries = node.list()
        if name not in entries:
            raise OSError(errno.ENOENT, f"there is no {name}")
        node = entries[name]
    return node
