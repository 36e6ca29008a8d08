"""Where the simulated host's firmware puts BARs: I/O in a 4 KiB window a bus, memory one after the other. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from softdpu.host.simulated.functions import Kind, PciFunction, Resource
from softdpu.pci.windows import WINDOW, places
from softdpu.spec import pci

IO_BASE, IO_END = 0x3000, 0xFFFF  # ports that bridges may pass on
FIRST_BUS = 0x14  # the DPU's: the first window is its static PFs'
BASES: dict[Kind, tuple[int, int]] = {  # of memory, and the bits of it that each function has
    "memory": (0x8000_0000, 14),
    "wide memory": (0x20_0000_0000, 20),
}
SHOWN: dict[Kind, int] = {"io": 0x40101, "memory": 0x40200, "wide memory": 0x14220C}  # in "resource" files


class Placed(msgspec.Struct, frozen=True):
    """A BAR with its address."""

    function: str
    index: int
    kind: Kind
    first: int
    last: int

    @property
    def line(self) -> str:
        """As a line of a sysfs "resource" file."""
        return f"0x{self.first:016x} 0x{self.last:016x} 0x{SHOWN[self.kind]:016x}"


class Window(msgspec.Struct, frozen=True):
    """The I/O window of the bridge that leads to a bus."""

    bus: str  # 0000:15
    first: int
    last: int


class Layout(msgspec.Struct, frozen=True):
    """The whole host."""

    windows: tuple[Window, ...]
    placed: tuple[Placed, ...]

    def of(self, address: str) -> dict[int, Placed]:
        """A function's BARs by number."""
        return {bar.index: bar for bar in self.placed if bar.function == address}


def assigned(function: PciFunction, bars: Mapping[int, Placed]) -> bytes:
    """Configuration space with the addresses in it that the firmware wrote there."""
    space = bytearray(function.config)
    for index, bar in bars.items():
        at, width = pci.HEADER.offset("bar0") + 4 * index, 8 if bar.kind == "wide memory" else 4
        low = space[at] & (3 if bar.kind == "io" else 15)
        space[at : at + width] = (bar.first | low).to_bytes(width, "little")
    return bytes(space)


def lay_out(functions: Iterable[PciFunction]) -> Layout:
    """Every BAR in its place, which depends on the function's own address only; I/O BARs of late buses get none."""
    windows: dict[str, Window] = {}
    placed: list[Placed] = []
    for function in sorted(functions, key=lambda function: function.address):
        window = _window(function)
        if window and any(bar.kind == "io" for bar in function.resources):
            windows[window.bus] = window
            placed += _io(function, window, placed)
        placed += [*_memory(function, "memory"), *_memory(function, "wide memory")]
    return Layout(tuple(windows.values()), tuple(placed))


def _window(function: PciFunction) -> Window | None:
    bus = function.address.rpartition(":")[0]
    first = IO_BASE + (int(bus.rpartition(":")[2], 16) - FIRST_BUS) * WINDOW
    return Window(bus, first, first + WINDOW - 1) if IO_BASE <= first < IO_END else None


def _io(function: PciFunction, window: Window, placed: Iterable[Placed]) -> Iterator[Placed]:
    taken = {bar.first for bar in placed}
    free = (at for at in places(window.first, window.last) if at not in taken)
    for bar, at in zip(_bars(function, "io"), free, strict=False):
        yield Placed(function.address, bar.index, "io", at, at + bar.size - 1)


def _memory(function: PciFunction, kind: Kind) -> Iterator[Placed]:
    bus, device, number = (int(part, 16) for part in re.split("[:.]", function.address)[-3:])
    base, bits = BASES[kind]
    at = base + ((bus << 8 | device << 3 | number) << bits)
    for bar in _bars(function, kind):
        first = -(-at // bar.size) * bar.size
        at = first + bar.size
        yield Placed(function.address, bar.index, kind, first, at - 1)


def _bars(function: PciFunction, kind: Kind) -> Iterator[Resource]:
    return (bar for bar in function.resources if bar.kind == kind)
