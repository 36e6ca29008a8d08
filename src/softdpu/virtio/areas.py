"""The three areas of a split virtqueue in memory: what makes them impossible (virtio 1.3 §2.7)."""

from itertools import pairwise

from softdpu.spec import virtio_pci as v
from softdpu.virtio.state import QueueState

ADDRESSES = 1 << 64


def area_fault(queue: QueueState, size: int) -> str:
    """Why a queue of ``size`` descriptors cannot lie where the driver put it: part of a sentence, or nothing."""
    if not (queue.descriptor or queue.driver or queue.device):
        return "the driver gave it no addresses"
    areas = (
        ("descriptor area", queue.descriptor, v.descriptor_bytes(size), v.DESCRIPTOR_ALIGN),
        ("driver area", queue.driver, v.driver_bytes(size), v.DRIVER_ALIGN),
        ("device area", queue.device, v.device_bytes(size), v.DEVICE_ALIGN),
    )
    for name, address, length, align in areas:
        if address % align:
            return f"its {name} at {address:#x} is not aligned to {align} bytes"
        if address + length > ADDRESSES:
            return f"its {name} at {address:#x} runs past the end of memory"
    return _overlap(sorted((address, length, name) for name, address, length, _ in areas))


def _overlap(areas: list[tuple[int, int, str]]) -> str:
    for (low, length, first), (high, _, second) in pairwise(areas):
        if low + length > high:
            return f"its {first} at {low:#x} and its {second} at {high:#x} overlap"
    return ""
