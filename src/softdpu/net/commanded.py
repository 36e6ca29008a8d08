"""What the commands of the control virtqueue act on, and what one comes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from softdpu.net.state import FunctionConfig, NetState
from softdpu.virtio.effects import Role
from softdpu.virtio.outcome import Effects


class Commanded(Protocol):
    """A network device, as its commands see it."""

    net: NetState
    max_pairs: int

    @property
    def config(self) -> FunctionConfig:
        """What the operator decided."""

    def has(self, bit: int) -> bool:
        """Whether a feature is in force."""

    def has_all(self, features: int) -> bool:
        """Whether all of a word of features are in force."""

    @property
    def queues(self) -> int:
        """How many queues the driver may use."""

    def kind_of(self, queue: int) -> Role | None:
        """What a queue is for; None if there is no such queue."""

    def moves_frames(self, queue: int) -> bool:
        """Whether a queue is an enabled receive or transmit queue."""

    def filter_effects(self) -> Effects:
        """The filter, as it is now."""

    def offload_effects(self) -> Effects:
        """The offloads, as they are now."""

    def steering_effects(self) -> Effects:
        """Which receive queue a frame goes to, as it is now."""


Done = Effects | bytes | None  # bytes: done, and this is the result; None: malformed, ERR
Handler = Callable[[Commanded, int, bytes], Done]
