"""Guests move between two DPUs under stock QEMU, over vhost-user, while they talk; a move may fail; the next works."""

import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from softdpu.host import vhost_user
from softdpu.lab import Guest
from softdpu.spec import features as f
from tests.dpu_under_test import Dpu, Plugged
from tools.soak.outside import Outside, Talk
from tools.soak.report import Report, Row

PART: Final = "moves"
OVER: Final = ("completed", "failed", "cancelled")
SLOW, FAST = 1 << 20, 1 << 33  # bytes/s: a move that does not end by itself, and one that memory's size does not slow
PATIENCE: Final = 120.0  # s for a move
HALF_WAY: Final = 0.5  # s after which something happens to a slow one
WITHOUT: Final = "csum"  # a property of QEMU's device, without which the guest's driver, which uses it, cannot go on


@dataclass(frozen=True)
class Lane:
    """A QEMU, a guest's kernel, and how its driver drives."""

    qemu: str
    kernel: str
    legacy: bool = False
    packed: bool = False

    def __str__(self) -> str:
        return f"QEMU {self.qemu}, {self.kernel} {'legacy' if self.legacy else 'packed' if self.packed else 'modern'}"


LANES: Final = {  # with the share of the moves that each gets
    Lane("11.1", "6.1", legacy=True): 0.3,
    Lane("11.1", "6.12"): 0.3,
    Lane("11.1", "7.3", packed=True): 0.2,
    Lane("7.2", "6.1", legacy=True): 0.2,
}


class NotMoved(Exception):
    """A move that should have worked did not, or one that should have failed left no guest."""


class Site:
    """A DPU, its device, and the QEMU that has the guest or waits for it."""

    def __init__(self, dpu: Dpu, lane: Lane) -> None:
        self.dpu, self.lane = dpu, lane
        vectors = 0 if lane.qemu == "7.2" else None  # that one crashes with MSI-X where there is no KVM
        features = f.mask_of(f.RING_PACKED) if lane.packed else 0
        self.device: Plugged = dpu.hotplug(export="vhost-user", vectors=vectors, features=features)
        words = dpu.qemu_arguments()  # of the machine's memory, which the lab has its own of, and of the device
        self.arguments = words[words.index("-chardev") :]
        if lane.qemu == "7.2":
            now, then = f"reconnect-ms={vhost_user.RECONNECT}", "reconnect=1"
            self.arguments = [word.replace(now, then) for word in self.arguments]

    def guest(self) -> Guest:
        """A QEMU with the device, started by hand as ``softdpu qemu-args`` has it, in which a guest boots."""
        return self._qemu(self.arguments)

    def waiting(self, **properties: object) -> Guest:
        """A QEMU that waits for a guest to arrive; ``properties`` of its device are other than they should be."""
        *others, device = self.arguments
        return self._qemu([*others, json.dumps(json.loads(device) | properties), "-incoming", "defer"])

    def _qemu(self, more: Sequence[str]) -> Guest:
        return Guest(self.lane.kernel, qemu=self.lane.qemu, legacy=self.lane.legacy, more=more)


@dataclass
class Moves:
    """What the moves of a lane came to."""

    moved: int = 0
    downtimes: list[float] = field(default_factory=list)  # ms, as QEMU measures them
    silences: list[float] = field(default_factory=list)  # ms, as the outside heard the guest
    announced: int = 0
    failed: list[str] = field(default_factory=list)  # those that were to fail, did, and left the guest as it was

    def __add__(self, more: "Moves") -> "Moves":
        return Moves(
            self.moved + more.moved,
            self.downtimes + more.downtimes,
            self.silences + more.silences,
            self.announced + more.announced,
            self.failed + more.failed,
        )


class Traveller:
    """A guest, where it is and where it can go."""

    def __init__(self, lane: Lane, sites: Sequence[Site], talk: Talk, stack: ExitStack, folder: Path) -> None:
        self.lane, self.talk, self.folder = lane, talk, folder
        self.sites = list(sites)  # where it is, where it goes next
        self.stack = stack
        self.moves = Moves()
        self.guest: Guest = stack.enter_context(self.sites[0].guest())
        self._numbers = itertools.count()
        talk.begin(self.guest)
        talk.goes_on(self.guest)

    # ---- a move

    def move(self) -> None:
        """To the other site. Raises NotMoved, Silent."""
        self.talk.out.longest_silence()
        self.arrive()
        self.talk.goes_on(self.guest)
        self.moves.silences.append(1000 * self.talk.out.longest_silence())

    def arrive(self) -> None:
        """The move alone, of a guest that may be quiet. Raises NotMoved."""
        self.talk.announcements.forget()
        target = self._set_off(FAST)
        self._wait_for("completed")
        target.wait_event("RESUME")
        target.continue_as(self.guest)
        self.moves.downtimes.append(float(self._state()["downtime"]))
        self.guest.stop()
        self.guest, self.sites = target, self.sites[::-1]
        self.moves.announced += self.talk.announcements.heard()
        self.moves.moved += 1

    def _set_off(self, speed: int, *, pause: bool = False, **properties: object) -> Guest:
        """A move has begun; who will arrive, and whose device has these ``properties``."""
        target = self.stack.enter_context(self.sites[1].waiting(**properties))
        for end in (target, self.guest):
            switches = {"return-path": True, "pause-before-switchover": pause and end is self.guest}
            named = [{"capability": name, "state": on} for name, on in switches.items()]
            end.qmp("migrate-set-capabilities", capabilities=named)
        self.guest.qmp("migrate-set-parameters", max_bandwidth=speed)
        uri = f"unix:{self.folder}/move{next(self._numbers)}"
        target.qmp("migrate-incoming", uri=uri)
        self.guest.qmp("migrate", uri=uri)
        return target

    def _state(self) -> dict[str, Any]:
        return dict(self.guest.qmp("query-migrate"))

    def _wait_for(self, *wanted: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while (state := self._state()).get("status") not in wanted:
            if state.get("status") in OVER or time.monotonic() > deadline:
                raise NotMoved(f"{self.lane}: {json.dumps(state)}, and should be {' or '.join(wanted)}")
            time.sleep(0.05)

    # ---- a move that fails

    def fail(self, name: str) -> None:
        """One of ``FAILURES``; the guest goes on where it is. Raises NotMoved, Silent."""
        target = FAILURES[name](self)
        target.stop()
        deadline = time.monotonic() + PATIENCE
        while self.guest.qmp("query-status")["status"] != "running":
            if time.monotonic() > deadline:
                raise NotMoved(f"{self.lane}, {name}: the guest does not go on where it was")
            time.sleep(0.05)
        self.talk.goes_on(self.guest)
        self.moves.failed.append(name)

    def cancelled(self) -> Guest:
        """The operator cancels it half-way."""
        target = self._set_off(SLOW)
        self._wait_for("active")
        time.sleep(HALF_WAY)
        self.guest.qmp("migrate_cancel")
        self._wait_for("cancelled")
        return target

    def killed(self) -> Guest:
        """The destination's QEMU is killed half-way."""
        target = self._set_off(SLOW)
        self._wait_for("active")
        time.sleep(HALF_WAY)
        target.stop()
        self._wait_for("failed")
        return target

    def killed_at_the_end(self) -> Guest:
        """It is killed when the guest stands still already, its rings stopped, and the last part is to be sent."""
        target = self._set_off(FAST, pause=True)
        self._wait_for("pre-switchover")
        target.stop()
        self.guest.qmp("migrate-continue", state="pre-switchover")
        self._wait_for("failed")
        return target

    def refused(self) -> Guest:
        """The destination's device lacks a feature that the driver uses: it does not take the state."""
        target = self._set_off(FAST, **{WITHOUT: False})
        self._wait_for("failed")
        return target


FAILURES: Final[dict[str, Callable[[Traveller], Guest]]] = {
    "cancelled": Traveller.cancelled,
    "destination killed": Traveller.killed,
    "destination killed at the switchover": Traveller.killed_at_the_end,
    "state refused": Traveller.refused,
}


# ---- all of it


def run(report: Report, moves: int, lanes: Sequence[Lane] = tuple(LANES)) -> None:
    """So many moves, shared among the lanes; in each lane every kind of failure once. Raises NotMoved, Silent."""
    every = Moves()
    with dpus() as (outside, both), tempfile.TemporaryDirectory(prefix="softdpu-soak-") as folder:
        for lane in lanes:
            count = max(1, round(moves * LANES[lane]))
            with travelling(outside, both, lane, Path(folder)) as traveller:
                travel(traveller, count, tuple(FAILURES))
            _report(report, str(lane), count, traveller.moves)
            every += traveller.moves
    if len(lanes) > 1:
        _report(report, "all of them", every.moved, every)


@contextmanager
def dpus() -> Iterator[tuple[Outside, list[Dpu]]]:
    """Two DPUs whose uplink is one network."""
    with ExitStack() as stack:
        outside = stack.enter_context(Outside())
        both = []
        for number in range(2):
            dpu = stack.enter_context(Dpu(uplinks={"p0": "up0"}))
            outside.cable(dpu, number)
            both.append(dpu)
        yield outside, both
        if mistakes := [mistake for dpu in both for mistake in dpu.own_mistakes()]:
            raise NotMoved("\n".join(mistakes))


@contextmanager
def travelling(outside: Outside, both: Sequence[Dpu], lane: Lane, folder: Path) -> Iterator[Traveller]:
    """A guest that talks, at the first of two DPUs."""
    with ExitStack() as stack:
        sites = [stack.enter_context(site(dpu, lane)) for dpu in both]
        talk = stack.enter_context(Talk(outside, sites[0].device.mac, folder))
        yield Traveller(lane, sites, talk, stack, folder)


def travel(traveller: Traveller, count: int, failures: Sequence[str]) -> None:
    """``count`` moves of a guest, with the failures spread among them. Raises NotMoved, Silent."""
    before = [count * (n + 1) // (len(failures) + 1) for n in range(len(failures))]
    for number in range(count):
        for at, name in zip(before, failures, strict=True):
            if at == number:
                traveller.fail(name)
        traveller.move()


@contextmanager
def site(dpu: Dpu, lane: Lane) -> Iterator[Site]:
    """One whose device goes with it."""
    made = Site(dpu, lane)
    try:
        yield made
    finally:
        dpu.unplug(made.device)


def _report(report: Report, who: str, count: int, moves: Moves) -> None:
    down, silent = (_spread(values) for values in (moves.downtimes, moves.silences))
    report.add(
        Row(
            PART,
            f"{who}: {count} moves under iperf3, {len(moves.failed)} failures between",
            f"{moves.moved} of {count} moved, {moves.announced} announced; downtime {down}, silence {silent}; "
            f"failed and went on: {_by_name(moves.failed)}",
            moves.moved == moves.announced == count,
            {"downtimes_ms": moves.downtimes, "silences_ms": moves.silences, "failures": moves.failed},
        )
    )


def _by_name(names: Sequence[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(names).items()) or "none"


def _spread(values: Sequence[float]) -> str:
    return f"p50 {percentile(values, 50):.0f} p99 {percentile(values, 99):.0f} ms"


def percentile(values: Sequence[float], which: int) -> float:
    """The smallest value that so many percent of them do not exceed."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * which // 100) - 1)]
