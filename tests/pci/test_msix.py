"""The MSI-X table, as storage."""

import pytest

from softdpu.pci.plan import MSIX_BAR
from tests.virtio.drivers import make

MASKED = bytes(12) + b"\1\0\0\0"


def test_entries_are_masked_after_reset() -> None:
    """PCI 3.0 §6.8.2.9."""
    assert make(vectors=2).read(MSIX_BAR, 0, 32)[0] == MASKED * 2


def test_entry_keeps_what_is_written() -> None:
    function = make()
    entry = bytes.fromhex("0010e0fe 00000000 41400000 00000000")
    function.write(MSIX_BAR, 16, entry)
    assert function.read(MSIX_BAR, 16, 16)[0] == entry
    assert function.read(MSIX_BAR, 24, 4)[0] == entry[8:12]
    assert function.read(MSIX_BAR, 0, 16)[0] == MASKED


def test_reserved_bits_of_an_entry_read_zero() -> None:
    """PCI 3.0 §6.8.2.7-9: the low address bits and all of the control but its mask."""
    function = make()
    function.write(MSIX_BAR, 0, b"\xff" * 16)
    assert function.read(MSIX_BAR, 0, 16)[0] == b"\xfc" + b"\xff" * 11 + b"\1\0\0\0"


@pytest.mark.parametrize("offset", [64, 2047, 2048, 4095, 1 << 40])
def test_writes_past_the_table_are_ignored(offset: int) -> None:
    function = make(vectors=4)
    function.write(MSIX_BAR, offset, b"\xff" * 8)
    assert function.read(MSIX_BAR, offset, 8)[0] == bytes(8)
    assert function.state.pci.table == {}


def test_reading_across_the_end_of_the_table() -> None:
    assert make(vectors=1).read(MSIX_BAR, 12, 8)[0] == b"\1\0\0\0\0\0\0\0"


def test_reset_masks_all_vectors() -> None:
    function = make()
    function.write(MSIX_BAR, 12, bytes(4))
    function.reset()
    assert function.read(MSIX_BAR, 0, 16)[0] == MASKED


def test_without_vectors_there_is_nothing_behind_the_bar() -> None:
    function = make(vectors=0)
    function.write(MSIX_BAR, 0, b"\xff" * 16)
    assert function.read(MSIX_BAR, 0, 16)[0] == bytes(16)
