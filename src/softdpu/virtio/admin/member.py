"""What an owner needs of its group's members. Whoever has the devices implements it; nothing here does.

A member's own effects are its own to carry out, before the call returns: the owner's answer says that it is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from softdpu.virtio.parts import Part


class NotifyAddress(NamedTuple):
    """Where a 16-bit queue index may be written to notify a member that a legacy driver drives."""

    owner: bool  # in a BAR of the owner; otherwise of the member
    bar: int  # 1 to 5
    offset: int  # bytes, even


class Member(Protocol):
    """One member of a group."""

    def legacy_read(self, configuration: bool, offset: int, size: int) -> bytes | None:
        """``size`` bytes of its legacy registers, or of its device configuration. None: they are not of one field."""

    def legacy_write(self, configuration: bool, offset: int, data: bytes) -> bool:
        """Writes to one field of them. False: it is not one field."""

    @property
    def stopped(self) -> bool:
        """Whether it was stopped: it begins no transport request."""

    def stop(self, stopped: bool) -> None:
        """Stops it, or lets it go on."""

    def parts(self) -> tuple[Part, ...]:
        """All its device parts, in the order of the specification."""

    def set_parts(self, parts: Sequence[Part]) -> str:
        """Sets parts of a stopped member, all or none: why that cannot be, or nothing."""


class Group(Protocol):
    """The SR-IOV group of an owner."""

    @property
    def size(self) -> int:
        """NumVFs while VF Enable is set, else 0: there is no group."""

    def member(self, number: int) -> Member | None:
        """The member of that number, 1 to ``size``. None: it is not there yet, or not any more."""

    def notify_addresses(self, number: int) -> Sequence[NotifyAddress]:
        """Where that member is notified, best first; up to three."""


class NoMembers:
    """The group of a PF without VFs."""

    size = 0

    def member(self, number: int) -> Member | None:
        return None

    def notify_addresses(self, number: int) -> Sequence[NotifyAddress]:
        return ()
