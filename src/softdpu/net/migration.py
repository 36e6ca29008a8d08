"""A function that its VMM moves (linux/vfio.h, migration protocol v2): states, and the stream that carries it.

    source, destination = Migration(function), Migration(other)
    effects = source.go(State.PRE_COPY)                  # from here on ``read`` gives what can be told by now
    effects = source.go(State.STOP_COPY)                 # frozen: ``source.wants_standing``, which the datapath knows
    effects = source.copy(standing)                      # and from here on all
    effects = destination.go(State.RESUMING)
    destination.write(source.read(65536))                # until there is no more
    effects = destination.go(State.RUNNING)              # raises BadState, and then nothing has changed

A device in any state but RUNNING and PRE_COPY touches no ring and sends no interrupt, and answers all accesses: that is
what P2P asks of a device that cannot tell its peers from memory.

The stream is records: what it is (4 bytes), its length (32 bits, little-endian), a saved state (``softdpu.net.saved``).
``PREVIEW`` is of a function that still runs: where it is written, it only tells whether this is a place for it.
``FINAL`` comes once, at the end.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from softdpu.net.mistakes import BadState
from softdpu.net.saved import decode, encode, fitted, saved
from softdpu.net.state import MigrationState
from softdpu.spec.vfio import SAVING, Can, State
from softdpu.virtio.migration import NoWay, way
from softdpu.virtio.outcome import NOTHING, Effects, note
from softdpu.virtio.standing import Standing

if TYPE_CHECKING:
    from softdpu.net.device import Function

CAN = Can.STOP_COPY | Can.P2P | Can.PRE_COPY
RUNS = frozenset({State.RUNNING, State.PRE_COPY})

RECORD = struct.Struct("<4sI")
PREVIEW, FINAL = b"PREV", b"LAST"
LONGEST = 1 << 17  # bytes of a record's saved state; no function has so many


class Migration:
    """The VMM's hold on a function. All it knows is part of the function's state."""

    def __init__(self, function: Function) -> None:
        self.function = function

    @property
    def state(self) -> MigrationState:
        """What it knows; another after each reset."""
        return self.function.state.migration

    @property
    def now(self) -> State:
        """The state that the device is in."""
        return State(self.state.now)

    # ---- states

    def go(self, target: int) -> Effects:
        """Enters a state over those on the way, up to STOP_COPY: ``wants_standing`` tells that ``copy`` is to follow.

        Raises NoWay, and BadState when what was written to RESUMING is no function for this place: nothing has changed.
        """
        result = NOTHING
        for state in way(self.now, target):
            if state == State.STOP_COPY:
                break
            result += self._enter(state)
        return result

    def wants_standing(self, target: int) -> bool:
        """Whether one step is left to ``target``, for which the function's standing is needed."""
        return target == State.STOP_COPY and way(self.now, target) == (State.STOP_COPY,)

    def copy(self, standing: Standing) -> Effects:
        """Enters STOP_COPY: all of the function can be read. Raises NoWay when it has left the state before that."""
        if not self.wants_standing(State.STOP_COPY):
            raise NoWay(f"the device is in {self.now.name} by now")
        result = self._enter(State.STOP_COPY)
        final = _record(FINAL, encode(saved(self.function.state, standing)))
        self.state.unread += final
        return result + note(f"its VMM takes it away: {len(final)} bytes of state", "info")

    def _enter(self, state: State) -> Effects:
        before = self.now
        result = self._load() if before == State.RESUMING else NOTHING
        if (state in RUNS) != (before in RUNS):
            result += self.function.quiesce(state not in RUNS)
        if (state in SAVING) != (before in SAVING):
            self.state.unread = self._preview() if state in (State.PRE_COPY, State.PRE_COPY_P2P) else b""
        if state == State.RESUMING:
            self.state.written, self.state.begun = b"", False
        self.state.now = state
        return result + (self._arrive() if state in RUNS else NOTHING)

    def _arrive(self) -> Effects:
        if not self.state.arrived:
            return NOTHING
        self.state.arrived = False
        return note("it goes on here", "info") + self.function.arrived()

    # ---- the stream

    def data_size(self) -> int:
        """How many bytes there would be to read in STOP_COPY, about."""
        return RECORD.size + len(encode(saved(self.function.state, Standing()))) + 32 * len(self.function.queues)

    def read(self, size: int) -> bytes:
        """The next bytes of the stream; fewer than ``size``, or none: that is all for now. Raises NoWay."""
        if self.now not in SAVING:
            raise NoWay(f"nothing can be read in {self.now.name}")
        state = self.state
        data, state.unread = state.unread[:size], state.unread[size:]
        return data

    def write(self, data: bytes) -> None:
        """The next bytes of a stream. Raises NoWay, and BadState when they are of no function for this place."""
        if self.now != State.RESUMING:
            raise NoWay(f"nothing can be written in {self.now.name}")
        written = self.state.written + data
        while (record := _first(written)) and record[0] == PREVIEW:
            fitted(decode(record[1]), self.function.state.config)
            written = written[RECORD.size + len(record[1]) :]
        if record and len(written) > RECORD.size + len(record[1]):
            raise BadState("migration stream: it goes on after its last record")
        self.state.written, self.state.begun = written, self.state.begun or bool(data)

    def _preview(self) -> bytes:
        return _record(PREVIEW, encode(saved(self.function.state, Standing())))

    def _load(self) -> Effects:
        """What was written becomes the function; nothing written changes nothing."""
        written = self.state.written
        if not self.state.begun:
            return NOTHING
        record = _first(written)
        if record is None:
            raise BadState(f"migration stream: it is cut off, {len(written)} bytes into its last record")
        result = self.function.put(decode(record[1]))
        self.state.written, self.state.begun, self.state.arrived = b"", False, True
        driver = self.function.transitional_mode or "no"
        return result + note(f"a device that was elsewhere has arrived, with {driver} driver", "info")


def _record(kind: bytes, content: bytes) -> bytes:
    return RECORD.pack(kind, len(content)) + content


def _first(data: bytes) -> tuple[bytes, bytes] | None:
    """The kind and the content of the first record; None as long as it is incomplete. Raises BadState."""
    if not any(kind.startswith(data[:4]) for kind in (PREVIEW, FINAL)):
        raise BadState(f"migration stream: a record of the kind {data[:4]!r} is not known here")
    if len(data) < RECORD.size:
        return None
    kind, length = RECORD.unpack_from(data)
    if length > LONGEST:
        raise BadState(f"migration stream: the length of a record, {length}, is more than {LONGEST}")
    content = data[RECORD.size : RECORD.size + length]
    return (kind, content) if len(content) == length else None
