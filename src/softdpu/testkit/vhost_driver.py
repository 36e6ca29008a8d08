"""A virtio-net driver over vhost-user: its rings are the back end's, all the rest is its own VMM's.

A back end knows no control queue and no PCI registers: filters, commands and configuration stay with the VMM.
"""

import os
from collections.abc import Mapping
from typing import Any, Final, Self

from softdpu.spec import features as f
from softdpu.spec.virtio_pci import ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK
from softdpu.testkit.eventfds import Eventfds
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.net import ALL_FEATURES, NegotiationFailed, NetDriver
from softdpu.testkit.packed import WRAP, PackedRing
from softdpu.testkit.ring import Ring, SplitRing
from softdpu.testkit.vhost import FrontEnd, Inflight
from softdpu.testkit.vhost_wire import LOG_ALL, Protocol, Request

SIZE: Final = 256  # descriptors of a queue, unless told otherwise
FRESH_PACKED: Final = WRAP << 16 | WRAP  # where a packed ring starts: both positions 0, both wrap counters 1 (§2.8.1)
CONTROLLED: Final = f.mask_of(
    f.NET_CTRL_VQ, *(feature.bit for feature in f.NET_FEATURES if f.NET_CTRL_VQ in feature.requires)
) & ~f.mask_of(f.NET_MQ)  # what needs a control queue; pairs are enabled by message


class VhostDriver(NetDriver):
    """Drives one back end; ``options`` are those of ``NetDriver``. Without ``interrupts`` no call eventfds are given.

    ``record`` is where the back end tracks what is in flight, of this or of an earlier connection.
    """

    def __init__(
        self,
        front: FrontEnd,
        memory: GuestMemory,
        *,
        interrupts: bool = True,
        record: Inflight | None = None,
        wanted: int = ALL_FEATURES,
        **options: Any,
    ) -> None:
        super().__init__(memory, wanted=wanted & ~CONTROLLED, **options)
        self.front = front
        self.record = record
        count = 2 * self.pairs
        self.kick_fds, self.errors = Eventfds(count), Eventfds(count)
        self.calls = Eventfds(count) if interrupts else None

    def close(self) -> None:
        """Give the eventfds back. The back end is not told: see ``stop``."""
        for events in (self.kick_fds, self.errors, self.calls):
            if events:
                events.close()
        self.calls = None

    @property
    def interrupted(self) -> bool:
        """Whether it has call eventfds."""
        return self.calls is not None

    @property
    def legacy(self) -> bool:
        """Whether the guest's driver is a legacy one: it has not taken VERSION_1."""
        return not self.has(f.VERSION_1)

    def offered(self) -> int:
        """Feature bits that the back end offers."""
        return self.front.features

    def accept(self, features: int) -> None:
        """Tell the features (SET_FEATURES) and, with STATUS, see that they are taken. Raises NegotiationFailed."""
        self.front.set_features(features)
        if self.front.protocol & Protocol.STATUS:
            self.front.status = ACKNOWLEDGE | DRIVER | FEATURES_OK
            if not self.front.status & FEATURES_OK:
                raise NegotiationFailed(f"the back end does not take the features {features:#x}")

    # ---- life

    def start(self) -> Self:
        """From a connection whose memory is shared to enabled queues with filled receive rings."""
        self.negotiate()
        if self.record:
            self.front.set_inflight(self.record)
        for index in self.queue_indices():
            self.rings[index] = self.setup_queue(index)
        self.fill()
        self._enable()
        return self

    def resume(self, front: FrontEnd, positions: Mapping[int, int] | None = None) -> Self:
        """Go on with the same rings: on another connection, or on the same one after ``stop``.

        ``positions`` are where the queues start, as ``stop`` told; without, where they were used up to.
        """
        self.front = front
        self.accept(self.features)
        if self.record:
            front.set_inflight(self.record)
        for index, ring in self.rings.items():
            self.tell_queue(index, ring, positions[index] if positions else used_up_to(ring))
        self._enable()
        return self

    def _enable(self) -> None:
        for index in self.rings:
            self.enable(index)
        if self.front.protocol & Protocol.STATUS:
            self.front.status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
        for index in self.rings:
            self.notify(index)

    def enable(self, index: int, on: bool = True) -> None:
        """Let the back end use a queue, or not (SET_VRING_ENABLE); a back end without protocol features always does."""
        if self.front.protocol:
            self.front.set_vring(Request.SET_VRING_ENABLE, index, int(on))

    def stop(self) -> dict[int, int]:
        """Stop the queues, whose rings stay as they are; where each stopped, for ``resume``."""
        return {index: self.front.vring_base(index) for index in self.rings}

    # ---- queues

    def setup_queue(self, index: int) -> Ring:
        """Make a ring and tell the back end of it."""
        ring = self.make_ring(self.queue_size or SIZE)
        self.tell_queue(index, ring, FRESH_PACKED if isinstance(ring, PackedRing) else 0)
        return ring

    def tell_queue(self, index: int, ring: Ring, position: int) -> None:
        """Size, position, addresses and eventfds of a queue, in the order in which VMMs tell them."""
        front = self.front
        front.set_vring(Request.SET_VRING_NUM, index, ring.size)
        front.set_vring(Request.SET_VRING_BASE, index, position)
        front.set_vring_addresses(index, ring.descriptor, ring.driver, ring.device, self._log(ring))
        front.set_vring_fd(Request.SET_VRING_ERR, index, self.errors.fds[index])
        front.set_vring_fd(Request.SET_VRING_KICK, index, self.kick_fds.fds[index])
        front.set_vring_fd(Request.SET_VRING_CALL, index, self.calls.fds[index] if self.calls else None)

    def _log(self, ring: Ring) -> int | None:
        return ring.device if self.features >> LOG_ALL & 1 else None

    def notify(self, queue: int) -> None:
        """Write the kick eventfd of a queue."""
        os.eventfd_write(self.kick_fds.fds[queue], 1)

    def wait_interrupt(self, queue: int, timeout: float = 5.0) -> int:
        """Wait for the call eventfd of a queue; how often it was written. Raises TimeoutError."""
        if self.calls is None:
            raise RuntimeError("the driver has no interrupts: it was made without")
        return self.calls.wait(queue, timeout)

    def log_writes(self, fd: int, size: int, on: bool = True) -> None:
        """Have writes into guest memory logged in ``fd``, while the queues run (LOG_ALL), or no more."""
        self.front.set_log(fd, size)
        self.features = self.features & ~(1 << LOG_ALL) | int(on) << LOG_ALL
        self.front.set_features(self.features)
        for index, ring in self.rings.items():
            self.front.set_vring_addresses(index, ring.descriptor, ring.driver, ring.device, self._log(ring))

    # ---- configuration

    def read_config(self, offset: int, size: int) -> bytes:
        """Read the device configuration (CONFIG)."""
        return self.front.config(offset, size)


def used_up_to(ring: Ring) -> int:
    """Where the device stood in a ring, by what it wrote there: the used index of a split ring, as VMMs have it."""
    if isinstance(ring, SplitRing):
        return ring.used_index
    assert isinstance(ring, PackedRing)
    return ring.used_position << 16 | ring.used_position
