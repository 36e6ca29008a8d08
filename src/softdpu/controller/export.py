"""How a function meets its VMM: the choice between vfio-user and vhost-user, one row a rule with its reason. Pure.

Over vfio-user the DPU is the whole PCI function. Over vhost-user the VMM is it, and the DPU is the rings behind.
"""

import errno
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from softdpu.controller.errors import OperatorError
from softdpu.host.interface import Abilities
from softdpu.host.vhost_user import LACKING, RING_SIZES
from softdpu.net.features import IMPLEMENTED
from softdpu.net.state import FunctionConfig
from softdpu.spec.features import bits_of, name_of

Export: TypeAlias = Literal["vfio-user", "vhost-user"]
Wish: TypeAlias = Literal["auto", "vfio-user", "vhost-user"]
Kind: TypeAlias = Literal["static PF", "hotplug PF", "VF"]


class Situation(msgspec.Struct, frozen=True):
    """What the choice depends on."""

    kind: Kind
    config: FunctionConfig
    wish: Wish = "auto"
    wished_by: str = ""  # who says so, such as "--export"
    host: Abilities | None = None  # of the QEMU that gets it; None: whoever connects

    @property
    def lacking(self) -> str:
        """What was asked for that QEMU's own function does not have with a vhost-user back end; empty: nothing."""
        bits = bits_of(self.config.features & IMPLEMENTED & LACKING)
        if names := ", ".join(name_of(bit) for bit in bits):
            return names
        return "" if self.config.queue_size in RING_SIZES else f"a ring size of {self.config.queue_size}"

    @property
    def trapped(self) -> bool:
        """Whether this QEMU could not unplug the function over vfio-user."""
        return self.host is not None and self.host.unplug_aborts and self.config.vectors > 0


class Row(NamedTuple):
    """A rule: the first whose condition holds decides."""

    export: Export
    when: Callable[[Situation], bool]
    reason: str  # {…} are filled from the situation


TABLE: tuple[Row, ...] = (
    Row("vfio-user", lambda s: s.wish == "vfio-user", "{s.wished_by} says so"),
    Row("vhost-user", lambda s: s.wish == "vhost-user", "{s.wished_by} says so"),
    Row("vfio-user", lambda s: s.kind == "static PF", "a static PF is there from power-on, whole as on the card"),
    Row("vfio-user", lambda s: s.kind == "VF", "a VF needs a PF and an admin virtqueue that are the DPU's own"),
    Row("vfio-user", lambda s: s.host is None, "no host is attached: whoever connects gets the whole PCI function"),
    Row("vhost-user", lambda s: not _able(s).vfio_user, "QEMU {s.host.version} has no vfio-user-pci device"),
    Row("vfio-user", lambda s: bool(s.lacking), "QEMU's own function lacks {s.lacking}"),
    Row(
        "vhost-user",
        lambda s: s.trapped,
        "QEMU {s.host.version} aborts when a vfio-user device with MSI-X is unplugged; a vhost-user device can be",
    ),
    Row("vfio-user", lambda _: True, "QEMU {s.host.version} can have, and unplug, the whole PCI function"),
)


def choose(situation: Situation) -> tuple[Export, str]:
    """The export and the reason for it. Raises OperatorError where a forced one cannot be had."""
    row = next(row for row in TABLE if row.when(situation))
    if row.export == "vhost-user" and situation.kind == "VF":
        raise OperatorError(
            errno.ENOTSUP, "a VF cannot be exported over vhost-user: it has no admin virtqueue. Leave --export away."
        )
    if row.export == "vhost-user" and situation.lacking:
        _refuse_lacking(situation)
    return row.export, row.reason.format(s=situation)


def _refuse_lacking(situation: Situation) -> None:
    raise OperatorError(
        errno.ENOTSUP,
        f"over vhost-user the PCI function is QEMU's own, which lacks {situation.lacking}: leave it away (rings may "
        f"have {', '.join(map(str, RING_SIZES))} descriptors), or use --export vfio-user with QEMU 10.1 or newer.",
    )


def _able(situation: Situation) -> Abilities:
    assert situation.host is not None
    return situation.host
