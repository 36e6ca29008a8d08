"""One device of the DPU: who it is, its function, and its answers to what the datapath asks."""

import asyncio
import errno
import logging
import os
import time
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from softdpu.controller import peers
from softdpu.controller.allowance import Allowance
from softdpu.controller.export import Export, Kind
from softdpu.controller.identity import Bdf, is_vuid
from softdpu.datapath.client import Request
from softdpu.datapath.messages import Access, Answer, Command, Event, Migrate
from softdpu.net.backend import Agreement
from softdpu.net.device import Function
from softdpu.net.migration import Migration
from softdpu.net.mistakes import BadState
from softdpu.net.state import FunctionState
from softdpu.net.statistics import Counted, nothing
from softdpu.net.vhost import VhostFunction, VhostState
from softdpu.spec import virtio_pci as v
from softdpu.virtio.migration import NoWay
from softdpu.virtio.outcome import NOTHING, Effects
from softdpu.virtio.standing import Standing

AnyFunction: TypeAlias = Function | VhostFunction
AnyState: TypeAlias = FunctionState | VhostState
log = logging.getLogger("softdpu.device")


class Place(msgspec.Struct, frozen=True):
    """Where a host took the device: the host's name, its id there, and the bus it is on."""

    host: str
    device_id: str
    bus: str


class Record(msgspec.Struct, frozen=True):
    """All that is needed to have the device again: kept by the datapath, sent with each change."""

    kind: Kind
    pf_id: int
    vf_id: int | None
    slot: int  # hot-plug slot, or number of the static PF
    vuid: str
    ib_device: str
    port: int
    sf_num: int
    representor: str
    bdf: Bdf
    max_queues: int
    place: Place | None
    function: AnyState
    export_reason: str = ""  # why it is exported as it is
    peer: str = ""  # who is connected: the program's name and process id, as far as they are known
    connects_to: str = ""  # where its VMM listens; empty: the DPU does
    held: bool = False  # stopped for a moment, while it is saved or restored
    configured: int = 0  # feature bits that virtnet.conf had for it when it was made


class Device:
    """A device that the datapath serves as function ``number``."""

    def __init__(self, number: int, record: Record, function: AnyFunction) -> None:
        self.number = number
        self.record = record
        self.function = function
        self.connected = False
        self.ifindex = 0
        self.tap: int | None = None  # the representor's descriptor, ours to close
        self.seen = asyncio.Event()  # the host's operating system has enabled the function
        self.alone = asyncio.Event()  # no connection was made for it, or the last one has ended
        self.alone.set()
        self._sent = b""
        self._lines = Allowance()

    @classmethod
    def restored(cls, number: int, state: bytes, connected: bool) -> "Device":
        """The device whose last state the datapath kept. Raises ValueError when it is not one."""
        record = msgspec.msgpack.decode(state, type=Record)
        if not is_vuid(record.vuid):
            raise ValueError(f"{record.vuid!r} is no VUID")
        device = cls(number, record, restored(record.function))
        device.connected = connected
        if connected:
            device.alone.clear()
        device._sent = state
        return device

    @property
    def name(self) -> str:
        """How the log names the device."""
        return self.record.vuid

    @property
    def peer(self) -> str:
        """Who is connected; empty when that is not known."""
        return self.record.peer

    @property
    def stopped(self) -> bool:
        """Whether it stands still: its owner or its operator stopped it."""
        return self.paused or (isinstance(self.function, Function) and self.function.state.virtio.stopped)

    @property
    def paused(self) -> bool:
        """Whether its operator stopped it."""
        return isinstance(self.function, Function) and self.function.state.virtio.paused

    @property
    def export(self) -> Export:
        """How a VMM meets the device."""
        return "vhost-user" if isinstance(self.function, VhostFunction) else "vfio-user"

    def negotiated(self, agreement: Agreement) -> None:
        """A vhost-user front end has gone a step further."""
        if isinstance(self.function, VhostFunction):
            self.function.negotiated(agreement)
            if self.function.status & v.DRIVER:
                self.seen.set()

    def orphaned(self) -> None:
        """The datapath has gone, and every VMM's connection with it."""
        if self.connected:  # otherwise it is as its host left it, with the VFs that were enabled
            self.function.disconnected()
        self.connected = False
        self.alone.set()
        self.identity(peer="")
        self.seen.clear()

    def let_go(self) -> None:
        """Close what is the controller's own of it."""
        if self.tap is not None:
            os.close(self.tap)
            self.tap = None

    def identity(self, **changes: object) -> None:
        """Change what the record says beside the function's state."""
        self.record = msgspec.structs.replace(self.record, **changes)

    def state(self) -> bytes:
        """The whole device, encoded."""
        self.record = msgspec.structs.replace(self.record, function=self.function.state)
        return msgspec.msgpack.encode(self.record)

    def sent_state(self) -> bytes:
        """The state, remembered as sent."""
        self._sent = self.state()
        return self._sent

    def changed_state(self) -> bytes | None:
        """The state if it differs from what was sent last, and remember it as sent."""
        state = self.state()
        if state == self._sent:
            return None
        self._sent = state
        return state

    def answer(self, request: Request, counted: Counted = nothing) -> Answer:
        """What the function says to a request of the datapath; ``counted`` tells what was counted on a queue of it.

        Never raises: our own mistake costs this device only.
        """
        return self._answered(request, lambda: self._ask(request, counted))

    def _answered(self, request: Request, ask: Callable[[], tuple[bytes, Effects]]) -> Answer:
        try:
            data, effects = ask()
            answer = Answer(self.number, request.request, 0, data, self.changed_state(), effects.items)
        except (NoWay, BadState) as refusal:
            self._say(logging.DEBUG if isinstance(refusal, NoWay) else logging.WARNING, "%s", refusal)
            return self._refusal(request, errno.EINVAL)
        except Exception:
            log.exception("%s: the device model failed at %r", self.name, request)
            return self._refusal(request, errno.EIO)
        self.note(effects)
        return answer

    def _refusal(self, request: Request, number: int) -> Answer:
        return Answer(self.number, request.request, number, b"", None, ())

    def _ask(self, request: Request, counted: Counted) -> tuple[bytes, Effects]:
        match request:
            case Event():
                return b"", self._event(request)
            case _ if isinstance(self.function, VhostFunction):
                raise ValueError("the registers of a vhost-user function are its VMM's")
            case Access(write=True):
                effects = self.function.write(request.region, request.offset, request.data)
                if self.function.decoding:
                    self.seen.set()
                return b"", effects
            case Access():
                return self.function.read(request.region, request.offset, request.size, request.isr)
            case Migrate():
                return self._migrate(request, Migration(self.function))
            case Command():
                return self.function.command(request.queue, request.data, request.room, counted)

    # ---- a VMM that moves it

    def _migrate(self, asked: Migrate, migration: Migration) -> tuple[bytes, Effects]:
        match asked.verb:
            case "get_state":
                return migration.now.to_bytes(4, "little"), NOTHING
            case "set_state":
                return b"", migration.go(asked.state)
            case "data_size":
                return migration.data_size().to_bytes(8, "little"), NOTHING
            case "read":
                return migration.read(asked.size), NOTHING
            case "write":
                migration.write(asked.data)
                return b"", NOTHING

    def wants_standing(self, request: Request) -> bool:
        """Whether the answer to a request lacks what the datapath knows: see ``copy``."""
        if not isinstance(request, Migrate) or request.verb != "set_state" or isinstance(self.function, VhostFunction):
            return False
        return Migration(self.function).wants_standing(request.state)

    def copy(self, request: Request, standing: Standing) -> Answer:
        """The answer to a request that it is to be read: the datapath says where it stands. Never raises."""
        assert isinstance(self.function, Function), "a front end of vhost-user moves its device itself"
        migration = Migration(self.function)
        return self._answered(request, lambda: (b"", migration.copy(standing)))

    def _event(self, event: Event) -> Effects:
        match event.kind:
            case "connected":
                self.connected = True
                self.alone.clear()
                self.identity(peer=peers.named(event.cause))
                self._say(logging.INFO, "a VMM connected: %s", self.peer or "a process that cannot be seen from here")
                return self.function.connected() if isinstance(self.function, VhostFunction) else Effects()
            case "disconnected":
                self.connected = False
                self.alone.set()
                self.identity(peer="")
                self.seen.clear()
                self._say(logging.INFO, "the VMM has gone (%s)", event.cause or "it closed the socket")
                return self.function.disconnected()
            case "reset":
                return Effects() if isinstance(self.function, VhostFunction) else self.function.reset()
            case "queue_fault":
                self._say(logging.WARNING, "queue %d stopped: %s", event.queue, event.cause)
                return self.function.queue_fault(event.queue, event.cause)
            case "peer_fault":
                self._say(logging.WARNING, "the VMM broke the protocol: %s", event.cause)
                return Effects()

    def note(self, effects: Effects) -> None:
        """Put what the function has to say into the log."""
        for entry in effects.log:
            self._say(logging.getLevelName(entry.level.upper()), "%s", entry.text)

    def _say(self, level: int, text: str, *values: object) -> None:
        """Log what the device's guest or VMM brought about, as far as that goes; whoever debugs gets all of it."""
        if not log.isEnabledFor(level):
            return
        left_out = 0 if log.isEnabledFor(logging.DEBUG) else self._lines.admit(time.monotonic())
        if left_out:
            log.warning("%s: %d lines were left out: it is the cause of too many", self.name, left_out)
        if left_out is not None:
            log.log(level, f"%s: {text}", self.name, *values)


def restored(state: AnyState) -> AnyFunction:
    """The function that a state was taken of. Raises ValueError when it is of none."""
    return VhostFunction.restore(state) if isinstance(state, VhostState) else Function.restore(state)


def copied(function: AnyFunction) -> AnyFunction:
    """A function just like this one, to try a change on."""
    state: AnyState = msgspec.msgpack.decode(msgspec.msgpack.encode(function.state), type=AnyState)
    copy = restored(state)
    if isinstance(copy, VhostFunction) and isinstance(function, VhostFunction):
        copy.agreement = function.agreement
    return copy
