"""The registers of a virtio device, whatever its type: what a driver has set, and nothing else."""

from typing import Literal, TypeAlias

import msgspec

from softdpu.virtio.effects import NO_VECTOR
from softdpu.virtio.standing import Standing

Mode: TypeAlias = Literal["legacy", "modern"]


class QueueState(msgspec.Struct, omit_defaults=True):
    """One virtqueue. Addresses are guest-physical (IOVA) bytes."""

    size: int = 0  # descriptors; 0: not set by the driver, the largest
    vector: int = NO_VECTOR
    enabled: bool = False  # queue_enable, or a legacy queue address that is not 0
    descriptor: int = 0
    driver: int = 0
    device: int = 0
    broken: bool = False  # stopped for good by a mistake of the driver, until it is reset


class VirtioState(msgspec.Struct, omit_defaults=True):
    """All of a virtio device but its type's own part."""

    queues: tuple[QueueState, ...]
    status: int = 0
    mode: Mode | None = None  # which interface the driver uses; None: no driver has shown itself since the last reset
    driver_features: int = 0  # by a modern driver as written: judged at FEATURES_OK; by a legacy one what holds
    features_beyond: tuple[int, int] = (0, 0)  # words 2 and 3 of what a modern driver wrote: nothing there is offered
    withdrawn: bool = False  # a legacy driver took DRIVER_OK back: no queue is served until it is set again
    device_feature_select: int = 0
    driver_feature_select: int = 0
    queue_select: int = 0
    config_vector: int = NO_VECTOR
    generation: int = 0
    changed: bool = False  # configuration changed since the driver last read it
    stopped: bool = False  # by its owner (virtio 1.4): it begins no transport request; kept over a reset by the driver
    quiesced: bool = False  # likewise by its VMM, which moves it
    paused: bool = False  # likewise by its operator, who saves or restores it
    moved: bool = False  # its state was set from parts while stopped: rings go on where memory says
    standing: Standing | None = None  # it was put in while stopped: what its datapath is told when it goes on
    faults: tuple[str, ...] = ()  # the most recent rules that a driver broke, oldest first; kept over resets

    @property
    def held(self) -> bool:
        """Whether somebody has it leave its driver alone."""
        return self.stopped or self.quiesced or self.paused
