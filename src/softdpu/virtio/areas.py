"""The three areas of a virtqueue in memory: what makes them impossible (virtio 1.3 §2.7, §2.8.10.1)."""

from itertools import pairwise

from softdpu.spec import virtio_pci as v
from softdpu.virtio.state import QueueState

ADDRESSES = 1 << 64


def size_fault(size: int, most: int, packed: bool) -> str:
    """Why a queue cannot have ``size`` descriptors: part of a sentence, or nothing. Packed ones may have any number."""
    if not 0 < size <= most:
        return f"its size {size} is not between 1 and {most}"
    return "" if packed or not size & size - 1 else f"its size {size} is not a power of two, as a split queue's must be"


def area_fault(queue: QueueState, size: int, packed: bool = False) -> str:
    """Why a queue of ``size`` descriptors cannot lie where the driver put it: part of a sentence, or nothing."""
    if not (queue.descriptor or queue.driver or queue.device):
        return "the driver gave it no addresses"
    event = v.EVENT_BYTES, v.EVENT_ALIGN
    areas = (
        ("descriptor area", queue.descriptor, v.descriptor_bytes(size), v.DESCRIPTOR_ALIGN),
        ("driver area", queue.driver, *(event if packed else (v.driver_bytes(size), v.DRIVER_ALIGN))),
        ("device area", queue.device, *(event if packed else (v.device_bytes(size), v.DEVICE_ALIGN))),
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
