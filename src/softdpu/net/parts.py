"""The device parts of a network function: made of its state, and put into it (virtio 1.4, device parts).

Configuration space and the MSI-X table have no parts: whoever moves the function reads and writes them (ibid.,
assumptions). A packed ring's position has none either, so parts of a device with packed rings cannot be set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec

from softdpu.net import command_parts
from softdpu.net.features import offered
from softdpu.net.mistakes import BadState
from softdpu.net.network import NetworkDevice, queue_count
from softdpu.net.state import FunctionState, NetState
from softdpu.net.validation import validated
from softdpu.spec import admin
from softdpu.spec import features as f
from softdpu.spec import virtio_pci as v
from softdpu.spec.admin import NO_SELECTOR, PartType
from softdpu.virtio.parts import Part
from softdpu.virtio.state import Mode, QueueState

ORDER: dict[int, int] = {kind: place for place, kind in enumerate(PartType)}
# Registers of the common configuration that have a part, and where their value is kept. The rest has parts of its own,
# or follows from what has.
FIELDS = {
    "device_feature_select": "device_feature_select",
    "driver_feature_select": "driver_feature_select",
    "config_msix_vector": "config_vector",
    "num_queues": "",
    "config_generation": "generation",
    "queue_select": "queue_select",
}


class Stray(Exception):
    """Parts that are not of this device as it is: the end of a sentence."""


# ---- out of a state


def parts_of(state: FunctionState) -> tuple[Part, ...]:
    """All parts, in the order of the specification."""
    device = NetworkDevice(state)
    virtio = state.virtio
    return (
        Part(PartType.DEV_FEATURES, NO_SELECTOR, admin.FEATURES.pack(offered(state.config)), optional=True),
        Part(PartType.DRV_FEATURES, NO_SELECTOR, admin.FEATURES.pack(virtio.driver_features)),
        *(_field(state, name) for name in FIELDS),
        Part(PartType.DEVICE_STATUS, NO_SELECTOR, bytes([virtio.status])),
        *(_queue(index, queue, device) for index, queue in enumerate(virtio.queues)),
        *(_notify(index) for index in range(len(virtio.queues))),
        *command_parts.command_parts(device),
    )


def _field(state: FunctionState, name: str) -> Part:
    register = v.COMMON.named[name]
    value = getattr(state.virtio, FIELDS[name]) if FIELDS[name] else queue_count(state.config)
    selector = admin.FIELD_SELECTOR.pack(register.offset)
    return Part(PartType.PCI_COMMON_CFG, selector, value.to_bytes(register.size, "little"))


def _queue(index: int, queue: QueueState, device: NetworkDevice) -> Part:
    size = device.virtio.size_of(queue)
    places = queue.descriptor, queue.driver, queue.device
    value = admin.VQ_CFG.pack(size, queue.vector, queue.enabled, 0, *places)
    return Part(PartType.VQ_CFG, admin.QUEUE_SELECTOR.pack(index), value)


def _notify(index: int) -> Part:
    return Part(PartType.VQ_NOTIFY_CFG, admin.QUEUE_SELECTOR.pack(index), admin.VQ_NOTIFY_CFG.pack(index, 0))


# ---- into a state


def with_parts(state: FunctionState, parts: Sequence[Part]) -> FunctionState:
    """A state that differs by these parts, every field of it checked. Raises Stray; ``state`` stays as it is."""
    known = [part for part in parts if part.kind in ORDER or not part.optional]
    if unknown := [part for part in known if part.kind not in ORDER]:
        raise Stray(f"there is no part {unknown[0].name}")
    if any(ORDER[b.kind] < ORDER[a.kind] for a, b in pairwise(known)):
        raise Stray("the parts are not in the order of the specification")
    draft = _copy(state)
    for part in known:
        if part.kind != PartType.NET_CVQ_CFG:
            _SETTERS[PartType(part.kind)](draft, part)
    draft.virtio.mode = _mode(draft)
    device = NetworkDevice(draft)
    for part in known:
        if part.kind == PartType.NET_CVQ_CFG and (why := command_parts.apply(device, part)):
            raise Stray(why)
    return _checked(draft)


def _copy(state: FunctionState) -> FunctionState:
    copy: FunctionState = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=FunctionState)
    return copy


def _checked(draft: FunctionState) -> FunctionState:
    if draft.virtio.driver_features >> f.RING_PACKED & 1 and any(queue.enabled for queue in draft.virtio.queues):
        raise Stray("where a packed ring stands has no part")
    try:
        return validated(draft)
    except BadState as error:
        raise Stray(str(error).removeprefix("saved state: ")) from error


def _mode(state: FunctionState) -> Mode | None:
    """A legacy driver is one that runs, or has features or queues, without VERSION_1, which it cannot see."""
    virtio = state.virtio
    if virtio.driver_features >> f.VERSION_1 & 1 or virtio.status & v.FEATURES_OK:
        return "modern"
    if virtio.status & v.DRIVER_OK or virtio.driver_features or any(queue.enabled for queue in virtio.queues):
        return "legacy"
    return "modern" if virtio.status else None


def _exact(part: Part, length: int) -> bytes:
    if len(part.value) != length:
        raise Stray(f"part {part.name} has {len(part.value)} bytes, not {length}")
    return part.value


def _same(part: Part, own: bytes) -> None:
    """Such a part is compared, not set."""
    if _exact(part, len(own)) != own:
        raise Stray(f"part {part.name} is {part.value.hex()}, and {own.hex()} here")


def _plain(part: Part) -> None:
    if part.selector != NO_SELECTOR:
        raise Stray(f"part {part.name} is there once, without a selector")


def _compare_features(state: FunctionState, part: Part) -> None:
    _plain(part)
    _same(part, admin.FEATURES.pack(offered(state.config)))


def _set_features(state: FunctionState, part: Part) -> None:
    """What the driver had set with other features does not hold with these."""
    _plain(part)
    (features,) = admin.FEATURES.unpack(_exact(part, admin.FEATURES.size))
    if features & ~offered(state.config):
        raise Stray(f"the driver's features {features:#x} are more than the device offers")
    if features != state.virtio.driver_features:
        state.net = NetState(mac=state.net.mac)
    state.virtio.driver_features, state.virtio.features_beyond = features, (0, 0)


def _set_field(state: FunctionState, part: Part) -> None:
    (offset,) = admin.FIELD_SELECTOR.unpack(part.selector)
    name = next((name for name in FIELDS if v.COMMON.offset(name) == offset), None)
    if name is None:
        raise Stray(f"the field at {offset:#x} of the common configuration has no part")
    if not FIELDS[name]:
        return _same(part, _field(state, name).value)
    value = int.from_bytes(_exact(part, v.COMMON.named[name].size), "little")
    setattr(state.virtio, FIELDS[name], value)
    return None


def _set_status(state: FunctionState, part: Part) -> None:
    _plain(part)
    state.virtio.status = _exact(part, 1)[0]


def _set_queue(state: FunctionState, part: Part) -> None:
    size, vector, enabled, _, *places = admin.VQ_CFG.unpack(_exact(part, admin.VQ_CFG.size))
    if enabled > 1:
        raise Stray(f"part {part.name} says enabled {enabled}")
    own = 0 if size == state.config.queue_size else size  # which is how a queue is kept whose size was never written
    queues = list(state.virtio.queues)
    queues[_index(state, part)] = QueueState(own, vector, bool(enabled), *places)
    state.virtio.queues = tuple(queues)


def _compare_notify(state: FunctionState, part: Part) -> None:
    _same(part, _notify(_index(state, part)).value)


def _index(state: FunctionState, part: Part) -> int:
    (index,) = admin.QUEUE_SELECTOR.unpack(part.selector)
    if index >= len(state.virtio.queues):
        raise Stray(f"there is no queue {index}")
    return int(index)


_SETTERS: dict[PartType, Callable[[FunctionState, Part], None]] = {
    PartType.DEV_FEATURES: _compare_features,
    PartType.DRV_FEATURES: _set_features,
    PartType.PCI_COMMON_CFG: _set_field,
    PartType.DEVICE_STATUS: _set_status,
    PartType.VQ_CFG: _set_queue,
    PartType.VQ_NOTIFY_CFG: _compare_notify,
}
