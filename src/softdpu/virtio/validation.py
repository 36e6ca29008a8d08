"""Where a saved state says that its function stands is not trusted: what is wrong with it."""

from collections.abc import Iterator

from softdpu.virtio.standing import QueueStanding, Standing
from softdpu.virtio.state import VirtioState

WRAP = 1 << 15  # of a packed ring's position
POSITIONS = 1 << 16
ISR_BITS = 3
ANSWER = 1 << 16  # bytes, at most; as long as a command

Fault = tuple[str, str]  # field, what is wrong with it


def standing_faults(virtio: VirtioState, queue_size: int, vectors: int, packed: bool) -> Iterator[Fault]:
    """Faults of ``virtio.standing``, of a function with queues of ``queue_size`` unless the driver chose another."""
    standing, name = virtio.standing, "virtio.standing"
    if standing is None:
        return
    if not virtio.held:
        yield name, "cannot be: the function is not stopped"
    for index, queue in enumerate(standing.queues):
        if why := _queue_fault(queue, virtio, queue_size, packed):
            yield f"{name}.queues[{index}]{why[0]}", why[1]
    if len({queue.queue for queue in standing.queues}) < len(standing.queues):
        yield f"{name}.queues", "names a queue twice"
    yield from _interrupts(standing, vectors)


def _queue_fault(standing: QueueStanding, virtio: VirtioState, queue_size: int, packed: bool) -> Fault | None:
    if not 0 <= standing.queue < len(virtio.queues):
        return ".queue", f"{standing.queue} is none of {len(virtio.queues)} virtqueues"
    queue = virtio.queues[standing.queue]
    if not queue.enabled or queue.broken:
        return ".queue", f"{standing.queue} is not served"
    if not 0 <= standing.position < POSITIONS:
        return ".position", f"{standing.position} is not between 0 and {POSITIONS - 1}"
    size = queue.size or queue_size
    if packed and standing.position & ~WRAP >= size:
        return ".position", f"{standing.position:#x} is not within a packed ring of {size} descriptors"
    if standing.answer is not None and len(standing.answer) > ANSWER:
        return ".answer", f"has {len(standing.answer)} bytes, more than {ANSWER}"
    return None


def _interrupts(standing: Standing, vectors: int) -> Iterator[Fault]:
    if standing.isr & ~ISR_BITS:
        yield "virtio.standing.isr", f"{standing.isr:#x} has bits that are none of the ISR status"
    if any(not 0 <= vector < vectors for vector in standing.pending):
        yield "virtio.standing.pending", f"names a vector beyond {vectors}"
    if len(set(standing.pending)) < len(standing.pending):
        yield "virtio.standing.pending", "names a vector twice"
