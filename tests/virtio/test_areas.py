"""Where a queue cannot lie (virtio 1.3 §2.7)."""

import pytest

from softdpu.virtio.areas import area_fault, size_fault
from softdpu.virtio.state import QueueState


def placed(descriptor: int = 0x1000, driver: int = 0x3000, device: int = 0x4000) -> QueueState:
    return QueueState(descriptor=descriptor, driver=driver, device=device)


def test_a_sound_queue() -> None:
    assert area_fault(placed(), 256) == ""


def test_areas_may_touch_and_come_in_any_order() -> None:
    assert area_fault(placed(descriptor=0x2000, driver=0x3000, device=0x0), 256) == ""


@pytest.mark.parametrize(
    ("queue", "why"),
    [
        (placed(descriptor=0x1008), "descriptor area at 0x1008 is not aligned to 16 bytes"),
        (placed(driver=0x3001), "driver area at 0x3001 is not aligned to 2 bytes"),
        (placed(device=0x4002), "device area at 0x4002 is not aligned to 4 bytes"),
        (placed(descriptor=(1 << 64) - 16), "runs past the end of memory"),
        (placed(device=(1 << 64) - 4), "runs past the end of memory"),
        (placed(driver=0x1FFE), "overlap"),
        (placed(0, 0, 0), "the driver gave it no addresses"),
        (placed(descriptor=0x4000), "descriptor area at 0x4000 overlap"),
    ],
)
def test_impossible_places(queue: QueueState, why: str) -> None:
    assert why in area_fault(queue, 256)


def test_the_very_end_of_memory_can_be_used() -> None:
    assert area_fault(placed(descriptor=(1 << 64) - 4096), 256) == ""


@pytest.mark.parametrize(
    ("queue", "why"),
    [
        (placed(driver=0x3004, device=0x3000), ""),
        (placed(driver=0x3002), "driver area at 0x3002 is not aligned to 4 bytes"),
        (placed(device=0x4002), "device area at 0x4002 is not aligned to 4 bytes"),
        (placed(device=0x3000), "overlap"),
    ],
)
def test_a_packed_queue_has_four_bytes_beside_its_ring(queue: QueueState, why: str) -> None:
    """§2.8.10.1."""
    fault = area_fault(queue, 100, packed=True)
    assert why in fault and bool(why) == bool(fault)


@pytest.mark.parametrize(
    ("size", "packed", "why"),
    [
        (0, True, "between 1 and 256"),
        (257, True, "between 1 and 256"),
        (100, True, ""),
        (1, True, ""),
        (100, False, "power of two"),
        (1, False, ""),
    ],
)
def test_sizes(size: int, packed: bool, why: str) -> None:
    fault = size_fault(size, 256, packed)
    assert why in fault and bool(why) == bool(fault)
