"""Device parts as bytes: read with every length checked, and written (virtio 1.4, device parts)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from softdpu.spec.admin import NO_SELECTOR, PART, PART_OPTIONAL, PartType


class Part(NamedTuple):
    """A device part. What a kind and selector name is there once."""

    kind: int  # of PartType, if it is known
    selector: bytes  # 8 bytes
    value: bytes
    optional: bool = False

    @property
    def key(self) -> tuple[int, bytes]:
        """What names the part."""
        return self.kind, self.selector

    @property
    def name(self) -> str:
        """For people."""
        try:
            kind = PartType(self.kind).name
        except ValueError:
            kind = f"{self.kind:#x}"
        return kind if self.selector == NO_SELECTOR else f"{kind} {self.selector.hex()}"

    @property
    def head(self) -> bytes:
        """struct virtio_dev_part_hdr."""
        return PART.pack(self.kind, PART_OPTIONAL if self.optional else 0, self.selector, len(self.value))


class BrokenPart(Exception):
    """Bytes that are no list of parts; the text is the end of a sentence."""


def encoded(parts: Iterable[Part]) -> bytes:
    """One ``struct virtio_dev_part`` after the other."""
    return b"".join(part.head + part.value for part in parts)


def parsed(data: bytes) -> list[Part]:
    """The parts that ``data`` holds. Raises BrokenPart where they are cut off, flagged strangely or there twice.

    Fewer bytes than a header with nothing but zeros among them are the driver's padding to 64 bits (§2.13).
    """
    parts = list(_each(data))
    if len({part.key for part in parts}) < len(parts):
        raise BrokenPart("a part is there twice")
    return parts


def _each(data: bytes) -> Iterator[Part]:
    at = 0
    while len(data) - at >= PART.size or any(data[at:]):
        if len(data) - at < PART.size:
            raise BrokenPart(f"the header at byte {at} is cut off")
        kind, flags, selector, length = PART.unpack_from(data, at)
        at += PART.size
        if flags & ~PART_OPTIONAL:
            raise BrokenPart(f"part {kind:#x} has unknown flags {flags:#x}")
        if length > len(data) - at:
            raise BrokenPart(f"part {kind:#x} of {length} bytes is cut off after {len(data) - at}")
        yield Part(kind, selector, data[at : at + length], bool(flags & PART_OPTIONAL))
        at += length


def headers(data: bytes) -> list[tuple[int, bytes]]:
    """What a list of headers names. Raises BrokenPart where one is cut off; zeros after the last are padding."""
    found, at = [], 0
    while any(data[at:]):
        if len(data) - at < PART.size:
            raise BrokenPart(f"the header at byte {at} is cut off")
        kind, _, selector, _ = PART.unpack_from(data, at)
        found.append((kind, selector))
        at += PART.size
    return found
