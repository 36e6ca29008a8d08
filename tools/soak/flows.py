"""Numbered frames between stations that may vanish at any moment, and the table in which both ends of a flow count.

The stations stand in a ring; each sends to both of its neighbours, so there are two flows for each station. A flow has
*epochs*: whenever one of its ends was killed, reset or destroyed, and is back, the next one begins, at frame 0. Within
an epoch every frame must be the next one: so nothing between two stations that nothing happened to may be lost, and
what was under way to or from a victim is known to be that.

The table is shared memory: each number has one writer, and outlives it.
"""

import mmap
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple, Self

LEFT, RIGHT = 0, 1
WORD: Final = 8
HEAD: Final = struct.Struct("<4sHIIH")  # mark, flow, epoch, number, bytes of the body that follows
CHECK: Final = struct.Struct("<I")  # of head and body, between them
MARK: Final = b"soak"
ETHERNET: Final = 14
BODY: Final = bytes(n * 7 & 0xFF for n in range(2048))  # bodies are pieces of this
LONGEST: Final = 1400


class Word(IntEnum):
    """The numbers of a flow."""

    SENT_EPOCH = 0  # by the sender
    SENT = 1
    ALL_SENT = 2  # in all epochs
    LOOK = 3  # longest time in µs that a register read took
    CAME_EPOCH = 4  # by the receiver
    CAME = 5
    ALL_CAME = 6
    LATE = 7  # frames that were meant for the receiver's former life
    SILENCE = 8  # longest time in µs between two frames of an epoch


@dataclass(frozen=True)
class Ring:
    """``count`` stations, in a ring."""

    count: int

    def neighbour(self, station: int, side: int) -> int:
        """Who stands there."""
        return (station + (1 if side == RIGHT else -1)) % self.count

    def outgoing(self, station: int, side: int) -> int:
        """The flow that a station sends to that side."""
        return 2 * station + side

    def incoming(self, station: int, side: int) -> int:
        """The flow that it gets from there."""
        return self.outgoing(self.neighbour(station, side), LEFT if side == RIGHT else RIGHT)

    def ends(self, flow: int) -> tuple[int, int]:
        """Who sends and who receives."""
        return flow // 2, self.neighbour(flow // 2, flow % 2)

    @property
    def flows(self) -> int:
        """How many there are."""
        return 2 * self.count


class Table:
    """The numbers of all flows, in a file that every station maps. Use as a context manager."""

    def __init__(self, path: Path, flows: int) -> None:
        size = flows * len(Word) * WORD
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._bytes = memoryview(self._map)
        self._words = self._bytes.cast("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._words.release()
        self._bytes.release()
        self._map.close()

    def get(self, flow: int, word: Word) -> int:
        """One number."""
        return self._words[flow * len(Word) + word]

    def set(self, flow: int, word: Word, value: int) -> None:
        """Write one number, at once."""
        self._words[flow * len(Word) + word] = value

    def add(self, flow: int, word: Word, more: int = 1) -> None:
        """Adds to a number, which only its one writer may."""
        self.set(flow, word, self.get(flow, word) + more)

    def raise_to(self, flow: int, word: Word, value: int) -> None:
        """Keeps the largest value, which only its one writer may."""
        self.set(flow, word, max(value, self.get(flow, word)))

    def largest(self, word: Word) -> int:
        """The largest of that number of all flows."""
        return max(self._words[word :: len(Word)])

    def sum(self, word: Word) -> int:
        """That number of all flows together."""
        return sum(self._words[word :: len(Word)])

    def came(self, flow: int) -> int:
        """Frames that have come of those that are being sent now."""
        current = self.get(flow, Word.CAME_EPOCH) == self.get(flow, Word.SENT_EPOCH)
        return self.get(flow, Word.CAME) if current else 0

    def under_way(self, flow: int) -> int:
        """Frames sent that have not come."""
        return self.get(flow, Word.SENT) - self.came(flow)


class Numbered(NamedTuple):
    """What a frame says of itself."""

    flow: int
    epoch: int
    number: int


def payload(what: Numbered) -> bytes:
    """A frame's payload; its length follows from its number."""
    length = what.number * 61 % LONGEST
    head, body = HEAD.pack(MARK, *what, length), BODY[what.number % 256 :][:length]
    return head + CHECK.pack(zlib.crc32(head + body)) + body


def parse(frame: bytes) -> Numbered:
    """What a frame that came says. Raises ValueError when a bit of it is not as it was sent."""
    head, rest = frame[ETHERNET:][: HEAD.size], frame[ETHERNET + HEAD.size :]
    if len(rest) >= CHECK.size:
        mark, flow, epoch, number, length = HEAD.unpack(head)
        body = rest[CHECK.size :][:length]
        if mark == MARK and CHECK.unpack_from(rest)[0] == zlib.crc32(head + body):
            return Numbered(flow, epoch, number)
    raise ValueError(f"a frame came changed: {frame[:64].hex()}, {len(frame)} bytes")


class OutOfOrder(Exception):
    """A frame was lost, came twice, or out of its turn."""


class Arrivals:
    """The receiving end of a flow: each frame must be the next one.

    ``born`` is the last epoch before this receiver's life: frames of it were meant for its former one.
    """

    def __init__(self, table: Table, flow: int, born: int) -> None:
        self.table = table
        self.flow = flow
        self.born = born
        self.epoch = born
        self.next = 0
        self._last = 0

    def take(self, frame: Numbered, now: int) -> None:
        """A frame has come, at ``now`` µs. Raises OutOfOrder."""
        if frame.epoch <= self.born:
            return self.table.add(self.flow, Word.LATE)
        if frame.epoch > self.epoch:
            self.epoch, self.next = frame.epoch, 0
            self.table.set(self.flow, Word.CAME, 0)
            self.table.set(self.flow, Word.CAME_EPOCH, frame.epoch)
        elif self._last:
            self.table.raise_to(self.flow, Word.SILENCE, now - self._last)
        if (frame.epoch, frame.number) != (self.epoch, self.next):
            raise OutOfOrder(
                f"flow {self.flow}: frame {frame.number} of epoch {frame.epoch}, not {self.next} of {self.epoch}"
            )
        self.next += 1
        self._last = now
        self.table.set(self.flow, Word.CAME, self.next)
        return self.table.add(self.flow, Word.ALL_CAME)
