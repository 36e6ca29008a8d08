"""The transport-neutral virtio device: status, features, queues, reset, faults. Interfaces are banks on top of it."""

from __future__ import annotations

from typing import Protocol

from msgspec import structs

from softdpu.spec import features as f
from softdpu.spec import virtio_pci as v
from softdpu.virtio import negotiation, status
from softdpu.virtio.areas import area_fault, size_fault
from softdpu.virtio.effects import (
    Freeze,
    Kick,
    RaiseConfig,
    Reset,
    SetConfigVector,
    SetPending,
    SetVector,
    StartQueue,
    StopQueue,
)
from softdpu.virtio.outcome import NOTHING, Effects, effects, note
from softdpu.virtio.state import Mode, QueueState, VirtioState

FAULTS_KEPT, FAULT_LENGTH = 8, 200


class DeviceType(Protocol):
    """What a device type adds. The device calls these; all registers and rules of the transport are the device's."""

    @property
    def queue_size(self) -> int:
        """Descriptors of a queue, at most."""

    def offered(self) -> int:
        """All feature bits on offer."""

    def hidden_from_legacy(self) -> int:
        """Those of them that a legacy driver of this device is not shown, although it could have them."""

    def queue_exists(self, index: int) -> bool:
        """Whether the driver may use a queue, with the features it has accepted."""

    def start(self, index: int, queue: QueueState) -> StartQueue:
        """How a queue is to be served."""

    def queue_reset(self, index: int) -> Effects:
        """A queue was reset by itself, and is stopped already."""

    def settled(self) -> Effects:
        """The features in force changed."""

    def reset(self) -> Effects:
        """The device was reset; its queues are stopped already."""


class VirtioDevice:
    """A device of any type, driven through either interface."""

    def __init__(self, state: VirtioState, kind: DeviceType, vectors: int) -> None:
        self.state = state
        self.kind = kind
        self.vectors = vectors
        self.isr = 0  # ISR bits at the moment of the access in hand; they live with whoever serves the function

    # ---- features

    @property
    def features(self) -> int:
        """The feature bits in force."""
        state = self.state
        return state.driver_features if state.mode == "legacy" or state.status & v.FEATURES_OK else 0

    @property
    def accepted(self) -> int:
        """All feature bits that the driver wrote, 128 of them."""
        second, third = self.state.features_beyond
        return self.state.driver_features | second << 64 | third << 96

    def has(self, bit: int) -> bool:
        """Whether a feature is in force."""
        return bool(self.features >> bit & 1)

    # ---- who drives

    def claim(self, mode: Mode) -> bool:
        """The driver uses an interface. False: since the last reset it uses the other one, so a write does nothing."""
        if self.state.mode is None:
            self.state.mode = mode
        return self.state.mode == mode

    def refuse_claim(self, mode: Mode) -> Effects:
        """Says why a write through an interface did nothing."""
        return note(f"write through the {mode} interface ignored: the driver uses the {self.state.mode} one")

    # ---- status

    def write_status(self, mode: Mode, value: int) -> Effects:
        """Driver writes device_status (virtio 1.3 §2.1). Zero resets the device, through whichever interface."""
        if value == 0:
            return self.reset()
        if not self.claim(mode):
            return self.refuse_claim(mode)
        value &= status.WRITABLE[mode]
        if not status.legal(mode, self.state.status, value):
            return self.fail(f"status {self.state.status:#x} → {value:#x} is not a legal step")
        return self._step(mode, value)

    def _step(self, mode: Mode, value: int) -> Effects:
        state, result = self.state, NOTHING
        new = value & ~state.status
        if new & v.FEATURES_OK and (why := negotiation.refusal(self.kind.offered(), self.accepted)):
            value &= ~(v.FEATURES_OK | v.DRIVER_OK)
            result = note(f"FEATURES_OK refused: {why}")
            new &= value
        was_live = self.live
        if state.status & ~value & v.DRIVER_OK:
            result += self._withdraw()
        state.status = value | state.status & v.NEEDS_RESET
        if new & v.FEATURES_OK:
            result += self.kind.settled()
        again, state.withdrawn = state.withdrawn, state.withdrawn and not new & v.DRIVER_OK
        if self.live and not was_live:
            result += self.start_all(resume=again)
        return result

    def _withdraw(self) -> Effects:
        """A legacy driver takes DRIVER_OK back, and its buffers with it: no ring is touched until it sets it again."""
        stops = effects(*(StopQueue(index) for index in range(len(self.state.queues)) if self.running(index)))
        self.state.withdrawn = True
        return stops

    @property
    def live(self) -> bool:
        """Whether enabled queues are served: after DRIVER_OK (§3.1.1); for a legacy driver before it too (§3.1.2)."""
        state = self.state
        return state.mode is not None and not state.withdrawn and bool(state.status & status.LIVE[state.mode])

    @property
    def bound(self) -> bool:
        """Whether a driver has taken the device: what it must not see change does not."""
        return bool(self.state.status & status.BOUND)

    def fail(self, cause: str) -> Effects:
        """The driver broke a rule. A modern one is told by NEEDS_RESET (§2.1.2); a legacy one cannot be."""
        state = self.state
        state.faults = (*state.faults, cause[:FAULT_LENGTH])[-FAULTS_KEPT:]
        result = note(cause)
        if state.mode != "legacy" and not state.status & v.NEEDS_RESET:
            state.status |= v.NEEDS_RESET if state.mode else 0
            result = self._raise() + result
        return result

    def ask_for_reset(self) -> Effects:
        """The driver is to reset the device, although it broke no rule (§2.1.2)."""
        if self.state.status & v.NEEDS_RESET:
            return NOTHING
        self.state.status |= v.NEEDS_RESET
        return self._raise() + note("the driver is asked to reset the device", "info")

    def _raise(self) -> Effects:
        """The configuration interrupt, for a driver that runs; one of a stopped device comes when it goes on."""
        told = self.state.status & v.DRIVER_OK and not self.state.held
        return effects(RaiseConfig()) if told else NOTHING

    def reset(self) -> Effects:
        """All that a driver has set returns to its value after reset (§2.4); the next one may use any interface."""
        state = self.state
        queues = tuple(QueueState() for _ in state.queues)
        fresh = VirtioState(
            queues=queues,
            faults=state.faults,
            stopped=state.stopped,
            quiesced=state.quiesced,
            paused=state.paused,
        )
        for field in VirtioState.__struct_fields__:
            setattr(state, field, getattr(fresh, field))
        return effects(Reset()) + self.kind.reset()

    # ---- configuration changes

    def config_changed(self) -> Effects:
        """The device changed its configuration (§3.2.1): the driver is interrupted once it is running."""
        self.state.changed = True
        return self._raise()

    def config_read(self) -> None:
        """The driver reads its configuration: a change it has not seen moves the generation (§4.1.4.3.1)."""
        if self.state.changed:
            self.state.changed = False
            self.state.generation = self.state.generation + 1 & 0xFF

    # ---- queues

    @property
    def selected(self) -> QueueState | None:
        """The queue that queue_select names, where there is one."""
        index = self.state.queue_select
        return self.state.queues[index] if self.kind.queue_exists(index) else None

    def size_of(self, queue: QueueState) -> int:
        """Descriptors of a queue."""
        return queue.size or self.kind.queue_size

    def running(self, index: int) -> bool:
        """Whether a queue is being served."""
        if not self.live or not self.kind.queue_exists(index):
            return False
        queue = self.state.queues[index]
        return queue.enabled and not queue.broken

    def start_all(self, resume: bool = False) -> Effects:
        """Begins to serve every queue that is set up; with ``resume`` where its ring says that it stands."""
        resume |= self.state.moved
        ready = [index for index in range(len(self.state.queues)) if self.running(index)]
        starts = (self.kind.start(index, self.state.queues[index]) for index in ready)
        return effects(*(self._where(start, resume) for start in starts))

    def _where(self, start: StartQueue, resume: bool) -> StartQueue:
        """A queue begins anew, unless it comes from elsewhere."""
        standing = self.state.standing.of(start.queue) if self.state.standing else None
        if standing is not None:
            return structs.replace(start, position=standing.position, answer=standing.answer)
        return structs.replace(start, resume=True) if resume else start

    def _anew(self, index: int) -> None:
        """Where a queue stood elsewhere is the past: its driver takes it away, or gives it."""
        if self.state.standing is not None:
            self.state.standing = self.state.standing.without(index)

    # ---- held: by its owner (virtio 1.4, device parts), by its VMM (``softdpu.net.migration``), by its operator

    def stop(self) -> Effects:
        """Its owner: no ring is touched and no interrupt sent from now on."""
        self.state.stopped = True
        return effects(Freeze(True))

    def quiesce(self) -> Effects:
        """Its VMM: likewise."""
        self.state.quiesced = True
        return effects(Freeze(True))

    def pause(self) -> Effects:
        """Its operator: likewise."""
        self.state.paused = True
        return effects(Freeze(True))

    def go_on(self) -> Effects:
        """Its owner lets it go on."""
        self.state.stopped = False
        return self._released()

    def resume(self) -> Effects:
        """Its VMM lets it go on."""
        self.state.quiesced = False
        return self._released()

    def proceed(self) -> Effects:
        """Its operator lets it go on."""
        self.state.paused = False
        return self._released()

    def _released(self) -> Effects:
        """Unless another holds it too: what was set up takes effect, and the driver is told what it could not be."""
        state = self.state
        if state.held:
            return NOTHING
        result = self.start_all() if state.moved or state.standing else NOTHING
        result += effects(Freeze(False))
        if state.standing and (state.standing.isr or state.standing.pending):
            result += effects(SetPending(state.standing.isr, state.standing.pending))
        state.moved, state.standing = False, None
        untold = state.changed or state.status & v.NEEDS_RESET
        return result + (self._raise() if untold else NOTHING)

    def enable(self) -> Effects:
        """Driver enables the selected queue (§4.1.4.3). What cannot be a queue is refused and costs the device."""
        index, queue = self.state.queue_select, self.selected
        if queue is None or queue.enabled:
            return NOTHING
        if not self.state.status & v.FEATURES_OK:
            return self.fail(f"queue {index} enabled before FEATURES_OK")
        size, packed = self.size_of(queue), self.has(f.RING_PACKED)
        if why := size_fault(size, self.kind.queue_size, packed) or area_fault(queue, size, packed):
            return self.fail(f"queue {index} enabled, but {why}")
        queue.enabled = True
        self._anew(index)
        return effects(self.kind.start(index, queue)) if self.live else NOTHING

    def place_legacy(self, rings: tuple[int, int, int] | None) -> Effects:
        """Legacy driver gives the selected queue its place in memory, or None to take it away (§4.1.5.1.3.1)."""
        index, queue = self.state.queue_select, self.selected
        if queue is None:
            return NOTHING
        was_running = self.running(index)
        self._anew(index)
        queue.enabled, queue.broken = rings is not None, False
        queue.descriptor, queue.driver, queue.device = rings or (0, 0, 0)
        if self.running(index):
            return effects(self.kind.start(index, queue))
        return effects(StopQueue(index)) if was_running else NOTHING

    def reset_queue(self) -> Effects:
        """Driver resets the selected queue (§2.6.1); done when the effect is."""
        index, queue = self.state.queue_select, self.selected
        if queue is None or not self.has(f.RING_RESET):
            return NOTHING
        was_running = self.running(index)
        queues = list(self.state.queues)
        queues[index] = QueueState()
        self._anew(index)
        self.state.queues = tuple(queues)
        stopped = effects(StopQueue(index)) if was_running else NOTHING
        return stopped + self.kind.queue_reset(index)

    def restart(self) -> Effects:
        """Starts the running queues again, since how they are to be served has changed."""
        return self.start_all() if self.live else NOTHING

    def queue_fault(self, index: int, cause: str) -> Effects:
        """A queue was stopped because its driver broke a rule: it stays so until it or the device is reset.

        The driver may have reset it before this was heard: then there is nothing left to fault.
        """
        if index < 0 or not self.running(index):
            return note(f"queue {index}, which does not run any more: {cause}")
        self.state.queues[index].broken = True
        self._anew(index)
        return self.fail(f"queue {index}: {cause}")

    def kick(self, index: int) -> Effects:
        """A notification that came as a register write; of a queue that does not run it means nothing."""
        return effects(Kick(index)) if self.running(index) else NOTHING

    # ---- vectors (§4.1.5.1.2)

    def _vector(self, value: int) -> int:
        return value if value < self.vectors else v.NO_VECTOR

    def write_config_vector(self, value: int) -> Effects:
        """A vector that is not there reads back as NO_VECTOR."""
        self.state.config_vector = self._vector(value)
        return effects(SetConfigVector(self.state.config_vector))

    def write_queue_vector(self, value: int) -> Effects:
        """The same for the selected queue."""
        queue = self.selected
        if queue is None:
            return NOTHING
        queue.vector = self._vector(value)
        index = self.state.queue_select
        return effects(SetVector(index, queue.vector)) if self.running(index) else NOTHING
