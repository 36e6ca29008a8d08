"""One administration command as a handler sees it (virtio 1.3 §2.12.1, §2.13)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any, Protocol

from softdpu.spec.admin import Refused
from softdpu.virtio.admin.member import Group, Member
from softdpu.virtio.admin.state import AdminState


class Desk(Protocol):
    """The owner, as a command's handler sees it."""

    state: AdminState
    group: Group

    def supported(self, group_type: int) -> int:
        """The bitmap of LIST_QUERY."""


@dataclass(frozen=True)
class Call:
    """A command that may be executed: group, opcode and member are known to be right."""

    desk: Desk
    group_type: int
    number: int  # of the member; 0 in the self group, and where the command uses none
    data: bytes  # command_specific_data, as long as the driver sent it
    room: int  # bytes for command_specific_result
    member_: Member | None = None

    @property
    def member(self) -> Member:
        """The member that the command is about."""
        assert self.member_ is not None, "the command's row in the table says that it uses no member"
        return self.member_

    def fields(self, layout: Struct, offset: int = 0) -> tuple[Any, ...]:
        """A structure in the data. What is missing is zero (§2.13)."""
        return layout.unpack(self.data[offset : offset + layout.size].ljust(layout.size, b"\0"))


Handler = Callable[[Call], bytes | Refused]  # bytes: command_specific_result
