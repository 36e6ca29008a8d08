"""Many stations at once, to whom things happen: who is up, which flows are open, and what must have arrived."""

import time
from collections.abc import Callable, Sequence
from enum import Enum
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final, Self

from tools.soak import station
from tools.soak.flows import LEFT, RIGHT, Ring, Table, Word
from tools.soak.station import Place

PATIENCE: Final = 300.0  # s for all to come up, or for what is under way to arrive, on a machine that is busy
CONTEXT: Final = get_context("forkserver")


class State(Enum):
    """What a station does."""

    STARTING = "starting"
    UP = "up"
    GOING = "going"  # its device was taken away, or it was told to leave
    GONE = "gone"


class Disturbed(Exception):
    """Something happened to a station that nothing was done to."""


class Member:
    """A station's process, and the end of its orders that gives them."""

    def __init__(self, place: Place, table: Path) -> None:
        self.place = place
        self.state = State.GONE
        self._table = table
        self.orders: Connection
        self.process: ForkServerProcess

    def start(self, born: int) -> None:
        """Raises nothing: what goes wrong comes over ``orders``."""
        self.orders, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=station.main, args=(self.place, self._table, theirs, born), daemon=True)
        self.process.start()
        theirs.close()
        self.state = State.STARTING

    def tell(self, *order: object) -> None:
        """An order; one who has died hears none."""
        try:
            self.orders.send(order)
        except (BrokenPipeError, ConnectionResetError):
            return

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        if self.state is not State.GONE:
            self.process.kill()
            self.process.join()
            self.orders.close()
            self.state = State.GONE


class Crowd:
    """Stations in a ring. Use as a context manager; call ``pump`` often."""

    def __init__(self, places: Sequence[Place], table: Path) -> None:
        CONTEXT.set_forkserver_preload(["tools.soak.station"])
        self.ring = Ring(len(places))
        self.table = Table(table, self.ring.flows)
        self.members = [Member(place, table) for place in places]
        self.epoch = 0  # the last one that was begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.kill()
        self.table.__exit__()

    # ---- who is there

    def up(self) -> list[Member]:
        """Those that drive their device."""
        return [member for member in self.members if member.state is State.UP]

    def all_up(self, timeout: float = PATIENCE) -> None:
        """Waits until all are. Raises Disturbed."""
        self._until(lambda: len(self.up()) == len(self.members), "do not come up", timeout)

    def _until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            self.pump(0.2)
            if time.monotonic() > deadline:
                late = [f"{m.place.number} ({m.place.kind}, {m.state.value})" for m in self.members]
                raise Disturbed(f"after {timeout:.0f} s stations {what}: {', '.join(late)}")

    def start_all(self) -> None:
        """Starts all that have gone."""
        for member in self.members:
            if member.state is State.GONE:
                member.start(self.epoch)

    # ---- what happens to one

    def kill(self, member: Member) -> None:
        """Its process dies, and the next one begins."""
        member.kill()
        member.start(self.epoch)

    def reset(self, member: Member, how: str) -> None:
        """Its device is reset, in one of the ways of ``station.RESETS``."""
        member.state = State.STARTING
        member.tell("reset", how, self.epoch)

    def expect_to_lose(self, members: Sequence[Member]) -> None:
        """Their devices are about to be destroyed."""
        for member in members:
            member.state = State.GOING

    # ---- what they tell

    def pump(self, timeout: float) -> None:
        """Hears what they tell, for so many seconds. Raises Disturbed."""
        deadline = time.monotonic() + timeout
        while (remaining := deadline - time.monotonic()) > 0:
            talking = {member.orders: member for member in self.members if member.state is not State.GONE}
            for end in wait(list(talking), remaining) if talking else ():
                assert isinstance(end, Connection)
                self._heard(talking[end])

    def _heard(self, member: Member) -> None:
        try:
            what, *details = member.orders.recv()
        except (EOFError, OSError):
            what, details = "failed", ["its process ended"]
        if what == "up":
            if member.state is State.STARTING:  # else its device goes just as it had come up
                member.state = State.UP
                self._open(member)
        elif member.state is State.GOING:
            member.kill()  # its device has gone, or it has left as told
        else:
            place = member.place
            raise Disturbed(f"{place.vuid} ({place.kind}), to which nothing was done: {' '.join(details)}")

    def _open(self, member: Member) -> None:
        """The flows between it and neighbours that are up begin anew."""
        number = member.place.number
        for side, back in ((LEFT, RIGHT), (RIGHT, LEFT)):
            other = self.members[self.ring.neighbour(number, side)]
            if other.state is State.UP:
                self._begin(member, side)
                self._begin(other, back)

    def _begin(self, sender: Member, side: int) -> None:
        self.epoch += 1
        sender.tell("open", side, self.epoch)

    # ---- the end

    def quiesce(self) -> None:
        """All stop sending; what is under way arrives, all of it. Raises Disturbed."""
        for member in self.members:
            member.tell("close")
        flows = range(self.ring.flows)
        self._until(lambda: not any(map(self.table.under_way, flows)), "miss frames that were sent to them", PATIENCE)

    def leave(self) -> None:
        """All stop their drivers as an unbinding does."""
        for member in self.members:
            member.state = State.GOING
            member.tell("leave")
        self._until(lambda: all(m.state is State.GONE for m in self.members), "do not leave", PATIENCE)

    @property
    def delivered(self) -> int:
        """Frames that arrived."""
        return self.table.sum(Word.ALL_CAME)

    @property
    def lost(self) -> int:
        """Frames that were under way to or from a victim, or came to its next life."""
        return self.table.sum(Word.ALL_SENT) - self.delivered

    @property
    def silence(self) -> float:
        """The longest time in s between two frames of a flow at whose ends nothing happened."""
        return self.table.largest(Word.SILENCE) / 1e6

    @property
    def slowest(self) -> float:
        """How many s the slowest read of a device's status took."""
        return self.table.largest(Word.LOOK) / 1e6
