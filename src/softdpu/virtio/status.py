"""The device status field as a state machine: which steps a driver may take (virtio 1.3 §2.1, §3.1)."""

from softdpu.spec.virtio_pci import ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK, NEEDS_RESET
from softdpu.virtio.state import Mode

# §3.1.1: the order in which a driver sets the bits.
LADDER = (
    0,
    ACKNOWLEDGE,
    ACKNOWLEDGE | DRIVER,
    ACKNOWLEDGE | DRIVER | FEATURES_OK,
    ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK,
)
# It must not clear one (§2.1.1), and may set several at once. Not every driver sets all: iPXE opens a device a second
# time with FEATURES_OK as its first. But nothing runs without features that both sides know.
_MODERN_VALUES = tuple(value for value in range(LADDER[-1] + 1) if value & FEATURES_OK or not value & DRIVER_OK)
MODERN_STEPS = frozenset((here, there) for here in _MODERN_VALUES for there in _MODERN_VALUES if not here & ~there)

# §3.1.2: no FEATURES_OK, and bits were set in any order. Boot firmware drops ACKNOWLEDGE again (iPXE writes 3, then 6);
# NetKVM takes DRIVER_OK back before it resets the device.
_LEGACY_BITS = (ACKNOWLEDGE, DRIVER, DRIVER_OK)
_LEGACY_VALUES = tuple(range(sum(_LEGACY_BITS) + 1))
LEGACY_STEPS = frozenset(
    (here, there) for here in _LEGACY_VALUES for there in _LEGACY_VALUES if not here & DRIVER & ~there
)

STEPS = {"modern": MODERN_STEPS, "legacy": LEGACY_STEPS}
WRITABLE = {
    "modern": ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK | FAILED,
    "legacy": ACKNOWLEDGE | DRIVER | DRIVER_OK | FAILED,
}
BOUND = DRIVER | FEATURES_OK | DRIVER_OK  # any of these: a driver has taken the device
LIVE = {"modern": DRIVER_OK, "legacy": DRIVER | DRIVER_OK}  # any of these: enabled queues are served


def legal(mode: Mode, status: int, value: int) -> bool:
    """Whether a driver may write ``value`` over ``status``. FAILED may be added at any point, never cleared."""
    if status & FAILED & ~value:
        return False
    return (status & ~(FAILED | NEEDS_RESET), value & ~FAILED) in STEPS[mode]


def reachable(mode: Mode | None, status: int) -> bool:
    """Whether a device can be in this status."""
    steps = status & ~(FAILED | NEEDS_RESET)
    if mode is None:
        return status == 0
    return steps in (_MODERN_VALUES if mode == "modern" else _LEGACY_VALUES)
