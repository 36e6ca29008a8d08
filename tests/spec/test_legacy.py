"""Where the parts of a legacy queue lie (virtio 1.3 §2.7.2)."""

import pytest

from softdpu.spec.legacy import rings


@pytest.mark.parametrize(
    ("size", "used"),
    [
        (64, 0x1000),  # 1024 + 134 bytes: the used ring begins on the next page
        (256, 0x2000),  # 4096 + 518
        (1024, 0x5000),  # 16384 + 2054
        (32768, 0x91000),  # 524288 + 65542
    ],
)
def test_used_ring_starts_on_the_next_page(size: int, used: int) -> None:
    assert rings(0x10, size) == (0x10000, 0x10000 + 16 * size, 0x10000 + used)


def test_addresses_go_past_four_gigabytes() -> None:
    assert rings(0xFFFFFFFF, 64).descriptor == 0xFFFFFFFF000
