"""How long interrupts are held back: as the operator has it, until the driver commands otherwise (virtio 1.3
§5.1.6.5.9). Of a queue, the last word holds, whoever said it; a reset forgets those of the driver.
"""

from __future__ import annotations

from collections.abc import Iterable

from softdpu.net.commanded import Commanded, Done
from softdpu.net.state import Coalescing, CoalescingState, FunctionConfig, Moderation
from softdpu.spec import virtio_net as n
from softdpu.virtio.effects import SetCoalescing
from softdpu.virtio.outcome import Effects, effects


def of_queue(config: FunctionConfig, state: CoalescingState, queue: int) -> SetCoalescing:
    """What a queue goes by now. Receive queues have even numbers."""
    commanded = state.queues.get(queue, state.transmit if queue % 2 else state.receive)
    return of_operator(config.moderation, queue) if commanded is None else SetCoalescing(queue, *commanded)


def of_operator(moderation: Moderation, queue: int) -> SetCoalescing:
    """What a queue goes by of which the driver says nothing."""
    if moderation.dynamic:
        return SetCoalescing(queue, 0, 0, "adaptive")
    return SetCoalescing(queue, moderation.packets, moderation.microseconds, moderation.mode)


def holds(setting: SetCoalescing) -> bool:
    """Whether any interrupt is held back by it."""
    return setting.pace == "adaptive" or bool(setting.packets and setting.microseconds)


def settings(config: FunctionConfig, state: CoalescingState, queues: Iterable[int]) -> Effects:
    """What these queues go by now."""
    return effects(*(of_queue(config, state, queue) for queue in queues))


def held_back(config: FunctionConfig, state: CoalescingState, queues: Iterable[int]) -> Effects:
    """Likewise, of those whose interrupts are held back: what a port must know that holds none back by itself."""
    each = (of_queue(config, state, queue) for queue in queues)
    return effects(*(setting for setting in each if holds(setting)))


def restarted(config: FunctionConfig, state: CoalescingState, queue: int) -> Effects:
    """A queue was disabled: enabled again, it goes by what holds for its kind."""
    return settings(config, state, [queue]) if state.queues.pop(queue, None) else effects()


def coalesce(device: Commanded, command: int, data: bytes) -> Done:
    """The class CTRL_NOTF_COAL."""
    if command == n.CTRL_NOTF_COAL_VQ_GET:
        return _get(device, data)
    if command == n.CTRL_NOTF_COAL_VQ_SET:
        return _set_one(device, data)
    return _set_kind(device, command == n.CTRL_NOTF_COAL_TX_SET, data)


def _set_kind(device: Commanded, transmit: bool, data: bytes) -> Done:
    """All transmit or all receive queues, whatever was said of one of them before."""
    if len(data) != n.COAL.size:
        return None
    state = device.net.coalescing
    setting: Coalescing = n.COAL.unpack(data)
    setattr(state, "transmit" if transmit else "receive", setting)
    state.queues = {queue: other for queue, other in state.queues.items() if queue % 2 != transmit}
    return settings(device.config, state, range(transmit, 2 * device.max_pairs, 2))


def _set_one(device: Commanded, data: bytes) -> Done:
    """A queue that is enabled and moves frames; ``reserved`` is not looked at."""
    if len(data) != n.COAL_QUEUE.size + n.COAL.size:
        return None
    queue, _ = n.COAL_QUEUE.unpack_from(data)
    if not device.moves_frames(queue):
        return None
    device.net.coalescing.queues[queue] = n.COAL.unpack_from(data, n.COAL_QUEUE.size)
    return settings(device.config, device.net.coalescing, [queue])


def _get(device: Commanded, data: bytes) -> Done:
    """What such a queue goes by."""
    if len(data) < n.COAL_QUEUE.size:
        return None
    queue, _ = n.COAL_QUEUE.unpack_from(data)
    if not device.moves_frames(queue):
        return None
    setting = of_queue(device.config, device.net.coalescing, queue)
    return n.COAL.pack(setting.packets, setting.microseconds)
