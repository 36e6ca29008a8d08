"""A guest that moves from device to device."""

import random
import time
from contextlib import ExitStack
from typing import Any, Self

from softdpu.testkit import Client, Driver, GuestMemory, ModernDriver, Move
from tests.chatter import Chatter
from tests.dpu_under_test import Plugged

SOON = 0.02  # s


class Nomad:
    """Boots like a ``SmallGuest``; what it is connected to and what its memory is change as it moves."""

    def __init__(self, place: Plugged, kind: type[Driver] = ModernDriver, **options: Any) -> None:
        with ExitStack() as stack:
            self.vmm = stack.enter_context(connected(place))
            self.memory = stack.enter_context(GuestMemory())
            self.memory.map_into(self.vmm)
            self.net: Driver = stack.enter_context(kind(self.vmm, self.memory, **options))
            self.net.start()
            stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.net.close()
        self.vmm.close()
        self.memory.close()

    def move(self, place: Plugged, chatter: Chatter, chance: random.Random) -> None:
        """Go there, at some instant, whatever is under way. What was copied is all that there was."""
        target = connected(place)
        with Move(self.vmm, self.memory, target) as move:
            time.sleep(chance.uniform(0, SOON))
            move.begin()
            for _ in range(chance.randrange(3)):
                time.sleep(chance.uniform(0, SOON))
                move.round()
            with chatter.still:
                move.stop()
                assert content(move.memory) == content(move.copy), "a page was written that no log names"
                self.arrive(move, target)

    def arrive(self, move: Move, target: Client) -> None:
        """Go on at the other end of a move that has come so far."""
        self.net.moved_to(target, move.finish())
        self.vmm.close()
        self.memory.close()
        self.vmm, self.memory = target, move.copy

    def set_out(self, place: Plugged, chatter: Chatter, chance: random.Random) -> None:
        """Set out to go there, and think better of it, early or late."""
        with connected(place) as target, Move(self.vmm, self.memory, target) as move:
            move.begin()
            time.sleep(chance.uniform(0, SOON))
            if chance.random() < 0.7:
                with chatter.still:
                    move.stop()


def connected(place: Plugged) -> Client:
    """A VMM that has agreed on a version."""
    client = Client(place.socket)
    client.negotiate()
    return client


def content(memory: GuestMemory) -> bytes:
    """All of it."""
    return memory.read(memory.base, memory.size)
