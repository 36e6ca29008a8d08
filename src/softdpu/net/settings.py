"""What a function can be set to: the checks of the operator's values, each refusal a sentence."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from softdpu.net.features import IMPLEMENTED
from softdpu.net.filters import MODES
from softdpu.net.mistakes import BadSetting, NotImplementedFeature
from softdpu.net.state import FunctionConfig, Moderation
from softdpu.pci.sriov import MOST_VECTORS as MOST_VF_VECTORS
from softdpu.pci.sriov import MOST_VFS, Sriov
from softdpu.spec import virtio_net as n
from softdpu.spec.features import bits_of, name_of
from softdpu.spec.virtio_pci import MAX_QUEUE_SIZE, MAX_VECTORS

MIN_QUEUES, MAX_QUEUES = 2, 2 * n.MAX_PAIRS + 1
MIN_QUEUE_SIZE = 2
MOST_MODES = (1 << len(MODES)) - 1
MOST_HELD = 0xFFFF  # buffers used before an interrupt: a queue has fewer
LONGEST_HELD = 1_000_000  # microseconds; the datapath holds none back for longer


def check(config: FunctionConfig) -> None:
    """Raises ``BadSetting`` or ``NotImplementedFeature`` for the first value that cannot be."""
    if config.layout not in ("modern", "transitional", "legacy"):
        raise BadSetting(f"layout {config.layout!r} is none of modern, transitional, legacy")
    check_mac(config.mac)
    check_mtu(config.mtu)
    check_speed(config.speed)
    _between("queues", config.queues, MIN_QUEUES, MAX_QUEUES)
    _between("queue_size", config.queue_size, MIN_QUEUE_SIZE, MAX_QUEUE_SIZE)
    if config.queue_size & config.queue_size - 1:
        raise BadSetting(f"queue_size {config.queue_size} is not a power of two")
    _between("vectors", config.vectors, 0, MOST_VF_VECTORS if config.virtual else MAX_VECTORS)
    if config.sriov is not None:
        _check_sriov(config.sriov)
    if config.virtual and (config.sriov is not None or config.layout == "legacy"):
        raise BadSetting("a VF has no VFs of its own, and no I/O BAR: its layout is modern or transitional")
    check_features(config.features)
    check_moderation(config.moderation)
    if config.rx_mode is not None:
        check_rx_mode(config.rx_mode)


def _check_sriov(sriov: Sriov) -> None:
    _between("VFs", sriov.total, 1, MOST_VFS)
    _between("first VF offset", sriov.offset, 1, 0xFFFF)
    _between("VF stride", sriov.stride, 1, 0xFFFF)
    _between("next function", sriov.next_function, 0, 0xFF)


def check_mac(mac: bytes) -> None:
    """A function's own address: 6 bytes, unicast, not zero."""
    if len(mac) != n.MAC_BYTES or mac[0] & 1 or not any(mac):
        raise BadSetting(f"mac {mac.hex(':') or '(empty)'} is not a unicast Ethernet address of 6 bytes")


def check_mtu(mtu: int) -> None:
    """Octets of the largest packet."""
    _between("mtu", mtu, n.MIN_MTU, n.MAX_MTU)


def check_speed(speed: int) -> None:
    """Mb/s, or 0xffffffff for unknown (virtio 1.3 §5.1.4)."""
    if speed != n.SPEED_UNKNOWN:
        _between("speed", speed, 0, n.SPEED_MAX)


def check_features(features: int) -> None:
    """Extra feature bits must be ones that work."""
    if features < 0:
        raise BadSetting(f"features {features} is negative")
    if missing := features & ~IMPLEMENTED:
        names = ", ".join(f"{name_of(bit)} ({bit})" for bit in bits_of(missing))
        raise NotImplementedFeature(
            f"features {features:#x} asks for {names}, which this device does not implement; "
            f"leave {missing:#x} out, the bits it has are {IMPLEMENTED:#x}"
        )


def moderated(moderation: Moderation, changes: Mapping[str, int | str]) -> Moderation:
    """The moderation with some fields changed. Raises ``BadSetting``."""
    changed = msgspec.structs.replace(moderation, **changes)
    check_moderation(changed)
    return changed


def check_moderation(moderation: Moderation) -> None:
    """Numbers that the datapath goes by as they are."""
    _between("max_count", moderation.packets, 0, MOST_HELD)
    _between("period", moderation.microseconds, 0, LONGEST_HELD)
    if moderation.mode not in ("event", "cqe"):
        raise BadSetting(f"period_mode {moderation.mode!r} is neither event nor cqe")


def check_rx_mode(modes: int) -> None:
    """A mask of modes of reception."""
    _between("rx_mode", modes, 0, MOST_MODES)


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BadSetting(f"{name} {value} is not between {low} and {high}")
