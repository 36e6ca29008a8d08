"""Commands about how long interrupts are held back (virtio 1.3 §5.1.6.5.9). Of a queue, the last one holds."""

from __future__ import annotations

from collections.abc import Iterable

from softdpu.net.commanded import Commanded, Done
from softdpu.net.state import Coalescing, CoalescingState
from softdpu.spec import virtio_net as n
from softdpu.virtio.effects import SetCoalescing
from softdpu.virtio.outcome import Effects, effects

OFF: Coalescing = (0, 0)
LIMIT = 1 << 32


def of_queue(state: CoalescingState, queue: int) -> Coalescing:
    """What a queue goes by now. Receive queues have even numbers."""
    return state.queues.get(queue, state.transmit if queue % 2 else state.receive)


def settings(state: CoalescingState, queues: Iterable[int]) -> Effects:
    """What these queues go by now."""
    return effects(*(SetCoalescing(queue, *of_queue(state, queue)) for queue in queues))


def restarted(state: CoalescingState, queue: int) -> Effects:
    """A queue was disabled: enabled again, it goes by what holds for its kind."""
    return settings(state, [queue]) if state.queues.pop(queue, None) else effects()


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
    state, setting = device.net.coalescing, n.COAL.unpack(data)
    setattr(state, "transmit" if transmit else "receive", setting)
    state.queues = {queue: other for queue, other in state.queues.items() if queue % 2 != transmit}
    return settings(state, range(transmit, 2 * device.max_pairs, 2))


def _set_one(device: Commanded, data: bytes) -> Done:
    """A queue that is enabled and moves frames; ``reserved`` is not looked at."""
    if len(data) != n.COAL_QUEUE.size + n.COAL.size:
        return None
    queue, _ = n.COAL_QUEUE.unpack_from(data)
    if not device.moves_frames(queue):
        return None
    device.net.coalescing.queues[queue] = n.COAL.unpack_from(data, n.COAL_QUEUE.size)
    return settings(device.net.coalescing, [queue])


def _get(device: Commanded, data: bytes) -> Done:
    """What such a queue goes by."""
    if len(data) < n.COAL_QUEUE.size:
        return None
    queue, _ = n.COAL_QUEUE.unpack_from(data)
    return n.COAL.pack(*of_queue(device.net.coalescing, queue)) if device.moves_frames(queue) else None
