"""A device's *saved state*: what it needs to go on elsewhere, but for the guest's memory. For a file or a stream.

    standing = ...                                   # of the stopped function, from its datapath (``Positions``)
    data = encode(saved(function.state, standing))   # MessagePack

    saved_state = decode(data)                       # raises BadState
    effects = other.stop(True) + other.put(saved_state)      # raises BadState, and then nothing has changed
    effects = other.stop(False)                      # queues start where they stood, interrupts that waited come

``put`` is for a stopped function of the same shape (``SHAPE``). Between it and ``stop(False)`` the function may stay
stopped for long, be stopped with its controller and restored, and be saved again: where its queues stand is part of its
state (``VirtioState.standing``) until they run.

The bytes are a map of ``format``, ``version`` and ``state``, a ``FunctionState`` that is stopped and has a standing.
What has its default is left out. A field that is not known here is refused, not passed over; so only one that changes
its meaning makes another version.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from softdpu.net.features import offered
from softdpu.net.mistakes import BadState
from softdpu.net.network import NetworkDevice, shape
from softdpu.net.state import FunctionConfig, FunctionState, MigrationState
from softdpu.net.unknown_fields import unknown_field
from softdpu.net.validation import validated
from softdpu.pci.config_space import ConfigSpace
from softdpu.virtio.standing import QueueStanding, Standing

FORMAT = "softdpu device"
VERSION, OLDEST = 1, 1  # what is written, and the oldest that is read
LONGEST = 1 << 19  # bytes; no state comes near it

# Settings that a driver counts on, so that the device that goes on must have them; what ``offered`` says comes to them.
SHAPE = ("layout", "queues", "queue_size", "vectors", "mtu", "virtual", "legacy_access")


_Decoded = TypeVar("_Decoded")


class _Head(msgspec.Struct):
    """What any version begins with."""

    format: str
    version: int


class SavedFunction(msgspec.Struct):
    """A function at rest. Its state is stopped, and has a standing."""

    format: str
    version: int
    state: FunctionState


_encoder = msgspec.msgpack.Encoder()
_head = msgspec.msgpack.Decoder(_Head)
_plain = msgspec.msgpack.Decoder()
_decoder = msgspec.msgpack.Decoder(SavedFunction)


def saved(state: FunctionState, standing: Standing) -> SavedFunction:
    """The saved state of a stopped function, whose datapath says where it stands. A copy."""
    copy = _copy(state)
    virtio = copy.virtio
    virtio.stopped, virtio.quiesced, virtio.paused = True, False, False
    virtio.standing = _joined(virtio.standing, _served(copy, standing))
    copy.migration = MigrationState()
    return SavedFunction(FORMAT, VERSION, copy)


def encode(function: SavedFunction) -> bytes:
    """As bytes."""
    return _encoder.encode(function)


def decode(data: bytes) -> SavedFunction:
    """What was encoded, every field of it checked. Raises BadState, naming the field, for anything else."""
    if len(data) > LONGEST:
        raise BadState(f"saved state: it has {len(data)} bytes, and none has more than {LONGEST}")
    head = _decoded(_head, data)
    if head.format != FORMAT:
        raise BadState(f"saved state: its format is {head.format[:40]!r}, not {FORMAT!r}")
    if head.version > VERSION:
        raise BadState(
            f"saved state: version {head.version} is newer than the {VERSION} that this program reads: update it"
        )
    if head.version < OLDEST:
        raise BadState(f"saved state: there is no version {head.version}")
    function = _decoded(_decoder, data)
    if strange := unknown_field(_decoded(_plain, data), SavedFunction):
        raise BadState(f"saved state: {strange} is not known to this program: update it")
    function.state = validated(function.state)
    if function.state.virtio.standing is None:
        raise BadState("saved state: virtio.standing is missing")
    return function


def fitted(function: SavedFunction, config: FunctionConfig) -> FunctionState:
    """The state for a device of this configuration. Raises BadState where that one is of another shape.

    The operator's settings stay the device's: a MAC address that the driver was shown holds until its next reset; of
    another speed or link it is told.
    """
    theirs = function.state.config
    for field in SHAPE:
        if (there := getattr(theirs, field)) != (here := getattr(config, field)):
            raise BadState(f"saved state: config.{field} is {there}, and {here} in the device that is to go on")
    if (there := offered(theirs)) != (here := offered(config)):
        raise BadState(f"saved state: its features are {there:#x}, and {here:#x} in the device that is to go on")
    if (there := _vfs(theirs)) != (here := _vfs(config)):
        raise BadState(f"saved state: config.sriov.total is {there}, and {here} in the device that is to go on")
    state = _copy(function.state)
    state.config = config
    if (theirs.speed, theirs.link_up) != (config.speed, config.link_up):
        state.virtio.changed = True
    state = validated(state)
    if number := ConfigSpace(shape(config), state.pci).enabled_vfs:
        raise BadState(f"saved state: pci.config has {number} VFs enabled, which are devices of their own")
    return state


def _vfs(config: FunctionConfig) -> int:
    return config.sriov.total if config.sriov else 0


def _copy(state: FunctionState) -> FunctionState:
    copy: FunctionState = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=FunctionState)
    return copy


def _served(state: FunctionState, standing: Standing) -> Standing:
    """Without queues that the driver has taken away since: what was asked and what is known are not of one moment."""
    virtio = NetworkDevice(state).virtio
    queues = tuple(queue for queue in standing.queues if virtio.running(queue.queue))
    return msgspec.structs.replace(standing, queues=queues)


def _joined(waiting: Standing | None, standing: Standing) -> Standing:
    """Of a function that has not gone on since it came from elsewhere, the datapath knows what was begun since."""
    if waiting is None:
        return standing
    queues: dict[int, QueueStanding] = {queue.queue: queue for queue in (*standing.queues, *waiting.queues)}
    pending = tuple(sorted({*waiting.pending, *standing.pending}))
    return Standing(tuple(queues.values()), waiting.isr | standing.isr, pending)


def _decoded(decoder: msgspec.msgpack.Decoder[_Decoded], data: bytes) -> _Decoded:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise BadState(f"saved state: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if "truncated" in str(error):
            raise BadState(f"saved state: it is cut off after {len(data)} bytes") from error
        raise BadState(f"saved state: {error}") from error
