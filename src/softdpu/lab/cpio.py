"""A writer of cpio archives in the "newc" format, which Linux takes as an initramfs.

Debian has `cpio`, but not every Debian installation; the format is forty lines.
Layout: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_HEADER = "070701" + "{:08X}" * 13


@dataclass(frozen=True)
class Entry:
    """One file, directory, symbolic link (data is its target) or character device of an archive, owned by root."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str) -> Entry:
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(name, stat.S_IFREG | mode, data)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int) -> Entry:
    return Entry(name, stat.S_IFCHR | 0o600, b"", (major, minor))


def with_parents(entries: Iterable[Entry]) -> list[Entry]:
    """The entries, each preceded by the directories that it lies in (the kernel does not make them by itself)."""
    made: dict[str, Entry] = {}
    for entry in entries:
        parts = entry.name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            made.setdefault(parent, directory(parent))
        made[entry.name] = entry
    return list(made.values())


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive's bytes, trailer included. The same entries give the same bytes: all times are zero."""
    blocks = [_record(number, entry) for number, entry in enumerate(entries, start=1)]
    return b"".join([*blocks, _record(0, Entry("TRAILER!!!", 0))])


def _record(inode: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    return _padded(_HEADER.format(*fields).encode() + name) + _padded(entry.data)


def _padded(block: bytes) -> bytes:
    return block + bytes(-len(block) % 4)
