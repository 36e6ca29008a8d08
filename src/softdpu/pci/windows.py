"""Where a transitional function's I/O BAR still fits: the arithmetic of bridges and their I/O windows. Pure.

x86 has 64 KiB of I/O ports. A bridge passes on whole 4 KiB windows of them (PCI-to-PCI Bridge 1.2 §3.2.5.6), and of
each window Linux uses the first 256 bytes of every 1 KiB only, because old ISA cards decoded ten address bits and
answered in the rest. So a window holds 16 I/O BARs of 64 bytes, however empty it looks. How many of those a bridge can
make use of depends on its slots: a PCI Express port has one, a conventional bus 32.
"""

import errno
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

WINDOW = 4096  # bytes: granularity of a bridge's I/O window
BAR = 64  # bytes: the I/O BAR of a transitional virtio-net function, a power of two
LOWEST_PORT = 0x1000  # the first 4 KiB belong to the platform: no bridge window begins there
PLACES_A_WINDOW = 16  # I/O BARs of 64 bytes, ISA aliases left out
MOST_WINDOWS = 14  # root ports that get a window on QEMU's q35, measured with SeaBIOS and Linux 6.1, 6.12 and 7.3
ISA_ALIAS = 0x300  # address bits 8 and 9: a port with one of them set is an alias of an ISA card's port

Kind: TypeAlias = Literal["port", "conventional", "root"]


class Range(msgspec.Struct, frozen=True):
    """I/O ports ``base`` to ``base + size - 1``."""

    base: int
    size: int  # bytes


class Bridge(msgspec.Struct, frozen=True):
    """A bus that devices can be plugged into, with the bridge that leads to it; ``name`` is what the host calls it."""

    name: str
    kind: Kind
    base: int  # first I/O port of its window
    limit: int  # last I/O port of its window; below ``base``: it has no window
    slots: tuple[int, ...]  # slot numbers that can take a device
    taken: tuple[int, ...] = ()  # slot numbers that have one
    claimed: tuple[Range, ...] = ()  # I/O BARs and further bridges' windows behind it
    waiting: int = 0  # I/O BARs behind it that have no address yet
    never: bool = False  # the host told the firmware to give it no I/O window

    @property
    def free_slots(self) -> tuple[int, ...]:
        """Slots that can take a device now, ascending."""
        return tuple(sorted(set(self.slots) - set(self.taken)))

    @property
    def has_window(self) -> bool:
        """Whether the bridge passes on I/O ports: cleared or closed windows (base 0, base above limit) do not."""
        return LOWEST_PORT <= self.base <= self.limit


class Share(msgspec.Struct, frozen=True):
    """What one bridge contributes to a budget."""

    bridge: str
    allocated: int  # bytes of its window, without further bridges' windows in it
    places: int  # transitional functions that it can have at once
    used: int
    free: int
    reason: str  # why ``free`` is what it is


class Budget(msgspec.Struct, frozen=True):
    """How many transitional functions a host takes."""

    shares: tuple[Share, ...]

    @property
    def allocated(self) -> int:
        """Bytes of I/O space: every window, and the 4 KiB below them that the platform keeps to itself."""
        return WINDOW + sum(share.allocated for share in self.shares)

    @property
    def windows(self) -> int:
        """4 KiB windows in it, which is what one device a bridge would allow: (allocated - 4K)/4K."""
        return (self.allocated - WINDOW) // WINDOW

    @property
    def places(self) -> int:
        """Transitional functions that the host can have at once."""
        return sum(share.places for share in self.shares)

    @property
    def used(self) -> int:
        """Places taken."""
        return sum(share.used for share in self.shares)

    @property
    def free(self) -> int:
        """Places left."""
        return sum(share.free for share in self.shares)

    def arithmetic(self) -> str:
        """The sum as an operator checks it, in one clause."""
        return (
            f"({self.allocated} - {WINDOW})/{WINDOW} = {self.windows} windows of I/O ports, "
            f"which make {self.places} places of {BAR} bytes; {self.used} used, {self.free} free"
        )


class NoIoWindow(Exception):
    """No place is left in any I/O window of the host for a transitional function."""

    errno = errno.ENOSPC

    def __init__(self, host: str, budget: Budget) -> None:
        super().__init__(host, budget)
        self.host = host
        self.budget = budget

    def __str__(self) -> str:
        reasons = "; ".join(f"{share.bridge}: {share.reason}" for share in self.budget.shares) or "it has no bridge"
        return (
            f"host {self.host} has no I/O window left for a transitional device: {self.budget.arithmetic()} "
            f"({reasons}). Unplug a transitional device, plug this one without -l, or start the host with one more "
            "bridge, such as a pcie-pci-bridge behind a pcie-root-port: its window holds 16 transitional devices."
        )


def places(base: int, limit: int, size: int = BAR) -> tuple[int, ...]:
    """Addresses from ``base`` to ``limit`` where Linux puts an I/O BAR of ``size`` bytes, a power of two up to 256."""
    first = -(-base // size) * size
    return tuple(a for a in range(first, limit + 2 - size, size) if not a & ISA_ALIAS)


def free_places(bridge: Bridge) -> int:
    """I/O BARs of 64 bytes that still fit into a bridge's window, whatever its slots allow."""
    open_ = [a for a in places(bridge.base, bridge.limit) if not _claimed(a, bridge.claimed)]
    return max(0, len(open_) - bridge.waiting)


def more_may_come(bridges: Iterable[Bridge]) -> bool:
    """Whether a booting host may still open a window: firmware serves devices only, the kernel empty ports as well."""
    bridges = [bridge for bridge in bridges if bridge.kind != "root"]
    closed = [bridge for bridge in bridges if not bridge.has_window and not bridge.never and bridge.free_slots]
    return bool(closed) and sum(bridge.has_window for bridge in bridges) < MOST_WINDOWS


def budget(bridges: Iterable[Bridge]) -> Budget:
    """The budget of a host from its bridges: those without any slot for a device do not appear."""
    return Budget(tuple(_share(bridge) for bridge in bridges if bridge.slots))


def foresee(bridges: Sequence[Bridge]) -> tuple[Bridge, ...]:
    """The bridges of a host that has not set them up yet, with the windows that they will get while it boots.

    A host that has windows is returned as it is. Of more than 14 ports the last ones win, as measured.
    """
    if any(bridge.has_window for bridge in bridges if bridge.kind != "root"):
        return tuple(bridges)
    foreseen = list(bridges)
    candidates = [i for i, bridge in enumerate(bridges) if bridge.kind != "root" and not bridge.never]
    for order, index in enumerate(candidates[-MOST_WINDOWS:]):
        base = LOWEST_PORT + order * WINDOW
        foreseen[index] = msgspec.structs.replace(bridges[index], base=base, limit=base + WINDOW - 1)
    return tuple(foreseen)


def _claimed(address: int, claimed: Iterable[Range]) -> bool:
    return any(address < c.base + c.size and c.base < address + BAR for c in claimed)


def _share(bridge: Bridge) -> Share:
    if not bridge.has_window:
        cause = "it was started with io-reserve=0" if bridge.never else "it has no I/O window"
        return Share(bridge.name, 0, 0, 0, 0, cause)
    inner = sum(c.size for c in bridge.claimed if c.size >= WINDOW)
    room, slots = free_places(bridge), len(bridge.free_slots)
    free = min(room, slots)
    used = min(_used_places(bridge), len(bridge.slots))
    return Share(bridge.name, _size(bridge) - inner, used + free, used, free, _reason(bridge, room, slots))


def _size(bridge: Bridge) -> int:
    return bridge.limit + 1 - bridge.base


def _used_places(bridge: Bridge) -> int:
    """Places that I/O BARs took; a bridge's window inside this one is counted with that bridge."""
    bars = [c for c in bridge.claimed if c.size < WINDOW]
    return bridge.waiting + sum(-(-bar.size // BAR) for bar in bars)


def _reason(bridge: Bridge, room: int, slots: int) -> str:
    if slots == 0:
        return "its slot is taken" if len(bridge.slots) == 1 else f"its {len(bridge.slots)} slots are taken"
    if room == 0:
        return f"its window {bridge.base:04x}-{bridge.limit:04x} is full"
    if bridge.kind == "port":
        return "its slot is free"
    return f"{slots} slots are free and {room} places in {bridge.base:04x}-{bridge.limit:04x}"
