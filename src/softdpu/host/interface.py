"""What a host answers and what it tells on its own. Data only."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec


class Abilities(msgspec.Struct, frozen=True):
    """What a host can do with a function."""

    version: str
    vfio_user: bool  # it has a device that connects to a whole function
    unplug_aborts: bool  # it ends, guest and all, when a vfio-user device with MSI-X is unplugged
    vhost_msix_crashes: bool = False  # it ends when a driver enables MSI-X on a vhost-user device


class Placement(msgspec.Struct, frozen=True):
    """Where a function was plugged in."""

    bus: str  # what the host calls the bus
    slot: int
    bdf: str | None  # the guest's address, such as "01:00.0"; None: the guest has not numbered its buses yet
    caution: str | None = None  # a sentence for the operator: what this host will not be able to do with it


class Gone(msgspec.Struct, frozen=True):
    """The host went away, and with it every function that was plugged into it."""


class Back(msgspec.Struct, frozen=True):
    """A host is there (again): the same one or a new one. ``devices`` are the ids of our functions in it."""

    devices: tuple[str, ...]


class Removed(msgspec.Struct, frozen=True):
    """A function left the host without our asking, or long after it."""

    device_id: str


class MigrationCancelled(msgspec.Struct, frozen=True):
    """The host began to migrate although it cannot with our functions; ``sentence`` says why it was stopped."""

    sentence: str


HostEvent: TypeAlias = Gone | Back | Removed | MigrationCancelled
Listener: TypeAlias = Callable[[HostEvent], None]


def format_bdf(bus: int, slot: int, function: int) -> str:
    """Such as "14:00.2"."""
    return f"{bus:02x}:{slot:02x}.{function:x}"
