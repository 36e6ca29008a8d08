"""The shape of a function: BARs, and what is served without asking it."""

import pytest

from softdpu.net.state import Layout
from softdpu.pci.description import Doorbell, Region, Window
from softdpu.pci.plan import plan
from tests.virtio.drivers import make


@pytest.mark.parametrize(
    ("layout", "regions"),
    [
        ("modern", (Region(1, 4096), Region(4, 16384), Region(7, 4096))),
        ("transitional", (Region(0, 64), Region(1, 4096), Region(4, 16384), Region(7, 4096))),
        ("legacy", (Region(0, 64), Region(1, 4096), Region(7, 4096))),
    ],
)
def test_regions_of_each_layout(layout: Layout, regions: tuple[Region, ...]) -> None:
    """virtio 1.3 §4.1.4.10: the legacy registers are in BAR0, in I/O space."""
    assert make(layout).description.regions == regions


def test_without_vectors_there_is_no_table() -> None:
    description = make(vectors=0).description
    assert description.vectors == 0
    assert description.pending is None
    assert 1 not in {region.index for region in description.regions}


def test_doorbells_of_both_interfaces() -> None:
    """virtio 1.3 §4.1.4.4 (a dword a queue) and §4.1.4.10 (the queue's number at 16)."""
    assert make(queues=5).description.doorbells == (Doorbell(0, 16, 2, 0), Doorbell(4, 0x3000, 20, 4))
    assert make("legacy").description.doorbells == (Doorbell(0, 16, 2, 0),)
    assert make("modern").description.doorbells == (Doorbell(4, 0x3000, 12, 4),)


def test_isr_of_both_interfaces() -> None:
    assert make().description.isr == (Window(0, 19, 1), Window(4, 0x1000, 1))


@pytest.mark.parametrize("vectors", [1, 4, 64, 128, 129, 2048])
def test_table_and_pending_bits_fit_in_their_bar(vectors: int) -> None:
    """PCI 3.0 §6.8.2: 16 bytes an entry, a bit a vector in quadwords, neither overlapping the other."""
    shape = plan("modern", vectors, 3)
    bar = next(bar for bar in shape.bars if bar.index == 1)
    assert vectors * 16 <= shape.pending_at
    assert shape.pending_at + shape.pending_bytes <= bar.size
    assert bar.size & bar.size - 1 == 0
    assert shape.pending_bytes * 8 >= vectors
