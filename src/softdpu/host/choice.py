"""Which bus a function is plugged into. Pure."""

import msgspec

from softdpu.host.errors import NoFreePort
from softdpu.host.topology import Topology
from softdpu.pci.windows import Bridge, Kind, NoIoWindow, budget, free_places

# A port of its own is what the real thing gives a function; pci.0 has more I/O places than any bridge.
_ORDER: dict[Kind, int] = {"port": 0, "root": 1, "conventional": 2}


class Place(msgspec.Struct, frozen=True):
    """A free slot of a bus."""

    bus: str
    slot: int


def choose(
    host: str,
    topology: Topology,
    *,
    transitional: bool,
    without: frozenset[str] = frozenset(),
    wanted: str | None = None,
) -> Place:
    """The best free slot: on the bus that is ``wanted`` if it has one; ``without`` are those found to take no device.

    Raises NoFreePort, or NoIoWindow when a transitional function finds slots but no I/O ports.
    """
    bridges = [bridge for bridge in topology.bridges if bridge.name not in without]
    fit = [bridge for bridge in bridges if bridge.free_slots and (not transitional or _has_place(bridge))]
    if fit:
        best = min(
            fit, key=lambda bridge: (bridge.name != wanted, _ORDER[bridge.kind], bridge.has_window and not transitional)
        )
        return Place(best.name, best.free_slots[0])
    if transitional and bridges:
        raise NoIoWindow(host, budget(topology.bridges))
    refusing = (f"{name} takes no further device" for name in sorted(without))
    raise NoFreePort(host, (*(_why_not(bridge) for bridge in bridges), *refusing, *topology.unusable))


def _has_place(bridge: Bridge) -> bool:
    return bridge.has_window and free_places(bridge) > 0


def _why_not(bridge: Bridge) -> str:
    return f"{bridge.name} is taken" if len(bridge.slots) == 1 else f"all slots of {bridge.name} are taken"
