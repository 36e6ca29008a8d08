"""What some versions of QEMU get wrong with our functions, one row a trap. Data only; `QemuHost` acts on it."""

from typing import Literal, TypeAlias

import msgspec

Version: TypeAlias = tuple[int, int, int]  # major, minor, micro
Trap: TypeAlias = Literal[
    "unplug with MSI-X aborts",
    "migration loses the device",
    "reset without a server aborts",
    "vhost-user with MSI-X crashes without KVM",
]


class Quirk(msgspec.Struct, frozen=True):
    """A trap, the versions that have it, why, and what the operator can do instead."""

    trap: Trap
    first: Version
    fixed: Version | None  # None: no release without it is known
    reason: str
    cure: str


QUIRKS: tuple[Quirk, ...] = (
    Quirk(
        trap="unplug with MSI-X aborts",
        first=(10, 1, 0),
        fixed=None,
        reason="it aborts, guest and all, when a vfio-user device with an MSI-X capability is unplugged (measured with "
        "11.1.3)",
        cure="Power the guest down: the device leaves with its QEMU. A device without MSI-X vectors (INTx only) can be "
        "unplugged at any time.",
    ),
    Quirk(
        trap="migration loses the device",
        first=(10, 1, 0),
        fixed=None,
        reason="it neither carries a vfio-user device to the destination nor refuses to migrate, so the guest would "
        "arrive with a dead device",
        cure="Unplug the device before the migration and plug it at the destination.",
    ),
    Quirk(
        trap="reset without a server aborts",
        first=(10, 1, 0),
        fixed=None,
        reason="it does not connect again to a vfio-user server that ended, and aborts when the guest is reset then",
        cure="Power the guest down and start it anew.",
    ),
    Quirk(
        trap="vhost-user with MSI-X crashes without KVM",
        first=(0, 0, 0),
        fixed=(10, 1, 0),  # 11.1.3 is sound, 7.2.22 is not; what is between was not measured
        reason="it ends with a segmentation fault, guest and all, when a driver enables MSI-X on a vhost-user device "
        "and KVM is not in use (measured with 7.2.22)",
        cure="Plug the device with --num_msix 0 (INTx), or run the guest with KVM.",
    ),
)


def text(version: Version) -> str:
    """Such as "11.1.3"."""
    return ".".join(map(str, version))


def quirk(trap: Trap, version: Version) -> Quirk | None:
    """The row of a trap if that version has it."""
    row = next(row for row in QUIRKS if row.trap == trap)
    affected = row.first <= version and (row.fixed is None or version < row.fixed)
    return row if affected else None
