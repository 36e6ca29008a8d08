"""Where a function stands in what only its datapath knows: rings, and what it has not told its driver yet."""

import msgspec


class QueueStanding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A virtqueue that is served, with nothing taken from it that has not been used."""

    queue: int
    position: int  # as ``StartQueue.position``: the next index of a split ring; packed: descriptor, wrap in bit 15
    answer: bytes | None = None  # to the command that the queue waits with, executed already and not yet used


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """All of a function's queues that are served, and its interrupts that wait to be delivered."""

    queues: tuple[QueueStanding, ...] = ()
    isr: int = 0  # ISR status bits that the driver has not read (virtio 1.3 §4.1.4.5)
    pending: tuple[int, ...] = ()  # MSI-X vectors whose pending bit is set

    def of(self, queue: int) -> QueueStanding | None:
        """Where one of the queues stands."""
        return next((standing for standing in self.queues if standing.queue == queue), None)

    def without(self, queue: int) -> "Standing":
        """All but one of the queues."""
        return msgspec.structs.replace(self, queues=tuple(each for each in self.queues if each.queue != queue))
