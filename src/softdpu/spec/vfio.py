"""Migration of a device as VFIO has it (linux/vfio.h, migration protocol v2): states and arcs, in the order there.

Data only; the walk over the arcs is in ``softdpu.virtio.migration``, what a device does on them in ``softdpu.net``.
"""

import enum
from collections.abc import Mapping
from typing import Final


class State(enum.IntEnum):
    """enum vfio_device_mig_state."""

    ERROR = 0
    STOP = 1  # neither its own state changes nor anybody else's
    RUNNING = 2
    STOP_COPY = 3  # stopped, and its state can be read
    RESUMING = 4  # stopped, and a state can be written
    RUNNING_P2P = 5  # accepts what others do, and begins nothing itself
    PRE_COPY = 6  # running, and what is there of its state can be read
    PRE_COPY_P2P = 7


class Can(enum.IntFlag):
    """VFIO_MIGRATION_*: which states there are besides RUNNING and ERROR."""

    STOP_COPY = 1  # and STOP, RESUMING
    P2P = 2
    PRE_COPY = 4


# Each state with those that one arc leads to. Any may also fail into ERROR, and a reset leads to RUNNING.
ARCS: Final[Mapping[State, tuple[State, ...]]] = {
    State.ERROR: (),
    State.STOP: (State.RUNNING_P2P, State.STOP_COPY, State.RESUMING),
    State.RUNNING: (State.RUNNING_P2P, State.PRE_COPY),
    State.STOP_COPY: (State.STOP,),
    State.RESUMING: (State.STOP,),
    State.RUNNING_P2P: (State.STOP, State.RUNNING, State.PRE_COPY_P2P),
    State.PRE_COPY: (State.RUNNING, State.PRE_COPY_P2P),
    State.PRE_COPY_P2P: (State.RUNNING_P2P, State.PRE_COPY, State.STOP_COPY),
}

# The states that share a session of reading: it begins when the first of them is entered, and ends with the last.
SAVING: Final = frozenset({State.STOP_COPY, State.PRE_COPY, State.PRE_COPY_P2P})

# Neither an arc nor a way over several.
FORBIDDEN: Final = frozenset({(State.STOP_COPY, State.PRE_COPY), (State.STOP_COPY, State.PRE_COPY_P2P)})
