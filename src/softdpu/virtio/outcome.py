"""What comes out of a call on a device: effects for the outside, in order, and lines for the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from softdpu.virtio.effects import AnyEffect

Level: TypeAlias = Literal["debug", "info", "warning"]


class Log(msgspec.Struct, frozen=True):
    """A line for the controller's log: never sent to the datapath. ``text`` is one sentence."""

    level: Level
    text: str


class Effects(msgspec.Struct, frozen=True):
    """An immutable sequence of effects, to be carried out in order, with the log lines that go with them."""

    items: tuple[AnyEffect, ...] = ()
    log: tuple[Log, ...] = ()

    def __add__(self, other: Effects) -> Effects:
        if not (other.items or other.log):
            return self
        if not (self.items or self.log):
            return other
        return Effects(self.items + other.items, self.log + other.log)

    def __iter__(self) -> Iterator[AnyEffect]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __bool__(self) -> bool:
        return bool(self.items or self.log)


NOTHING = Effects()


def effects(*items: AnyEffect) -> Effects:
    """These effects, and nothing to say."""
    return Effects(items)


def note(text: str, level: Level = "warning") -> Effects:
    """Only a log line."""
    return Effects((), (Log(level, text),))
