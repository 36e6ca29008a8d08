"""/proc/ioports as a tree: which bus got which ports, and what lies in them. Pure."""

import re
from collections.abc import Iterable, Iterator

import msgspec

from softdpu.pci.windows import LOWEST_PORT, WINDOW

LINE = re.compile(r"(?P<indent> *)(?P<first>[0-9a-f]+)-(?P<last>[0-9a-f]+) : (?P<name>.*)")
INDENT = 2  # spaces a level
ROOT_BUS = "PCI Bus "


class Hidden(Exception):
    """The kernel shows addresses to root only: to others every line reads 0000-0000."""

    def __str__(self) -> str:
        return "/proc/ioports shows addresses to root only: run this as root"


class Ports(msgspec.Struct, frozen=True):
    """A range of I/O ports with what claims parts of it."""

    first: int
    last: int
    name: str
    inside: tuple["Ports", ...] = ()

    @property
    def size(self) -> int:
        """Ports, which are bytes of I/O space."""
        return self.last - self.first + 1

    def everything(self) -> Iterator["Ports"]:
        """All ranges inside, whatever the depth."""
        for part in self.inside:
            yield part
            yield from part.everything()


class Space(msgspec.Struct, frozen=True):
    """The I/O space of one root bus, and the manual's sum about it."""

    bus: str
    allocated: int  # bytes
    possible: int  # whole 4 KiB windows in it, without the platform's own
    taken: int  # of them, those that bridges below it have already

    @property
    def fit(self) -> int:
        """Transitional hotplug devices, a bridge each: (allocated - 4K)/4K."""
        return max(0, (self.allocated - WINDOW) // WINDOW)


def parse(text: str) -> tuple[Ports, ...]:
    """The ranges of the first level.

    Raises:
        Hidden: the addresses are not shown.
    """
    lines = [match for match in map(LINE.fullmatch, text.splitlines()) if match]
    if lines and not any(int(line["last"], 16) for line in lines):
        raise Hidden
    return _nested(lines, 0)


def spaces(ports: Iterable[Ports]) -> tuple[Space, ...]:
    """Each root bus with its ports; a bus may have several ranges."""
    buses: dict[str, list[Ports]] = {}
    for range_ in ports:
        if range_.name.startswith(ROOT_BUS):
            buses.setdefault(range_.name.removeprefix(ROOT_BUS), []).append(range_)
    return tuple(_space(bus, ranges) for bus, ranges in buses.items())


def _space(bus: str, ranges: list[Ports]) -> Space:
    whole = (max(0, (range_.last + 1) // WINDOW - _first_window(range_)) for range_ in ranges)
    return Space(bus, sum(range_.size for range_ in ranges), sum(whole), _windows(ranges))


def _first_window(range_: Ports) -> int:
    return -(-max(range_.first, LOWEST_PORT) // WINDOW)


def _windows(ranges: Iterable[Ports]) -> int:
    behind = [part for range_ in ranges for part in range_.inside if part.name.startswith(ROOT_BUS)]
    return sum(-(-bridge.size // WINDOW) for bridge in behind)


def _nested(lines: list[re.Match[str]], depth: int) -> tuple[Ports, ...]:
    starts = [at for at, line in enumerate(lines) if len(line["indent"]) == depth * INDENT]
    ends = [*starts[1:], len(lines)]
    return tuple(_range(lines[start], lines[start + 1 : end], depth) for start, end in zip(starts, ends, strict=False))


def _range(line: re.Match[str], below: list[re.Match[str]], depth: int) -> Ports:
    return Ports(int(line["first"], 16), int(line["last"], 16), line["name"], _nested(below, depth + 1))
