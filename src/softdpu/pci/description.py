"""What whoever serves a PCI function on a socket must know of it, before the first access. Data only.

The datapath answers from this alone: region and interrupt queries, doorbells, and the registers whose value lives with
the rings (ISR status, MSI-X pending bits). Everything else is forwarded to the function, in the controller.
"""

import msgspec

INTX_IRQ, MSI_IRQ, MSIX_IRQ, ERR_IRQ, REQ_IRQ = range(5)  # indices of VFIO_DEVICE_GET_IRQ_INFO
CONFIG_REGION = 7  # VFIO_PCI_CONFIG_REGION_INDEX; BARs are 0..5, the expansion ROM 6


class Region(msgspec.Struct, frozen=True):
    """One region of the function: a BAR (0..5) or the configuration space (7); readable and writable, not mappable."""

    index: int
    size: int  # bytes


class Doorbell(msgspec.Struct, frozen=True):
    """A window of registers whose write notifies a queue, without the controller.

    With a stride, queue = (offset of the write − ``offset``) / stride (virtio 1.3 §4.1.4.4). With stride 0 it is the
    little-endian 16-bit value written (legacy Queue Notify, §4.1.4.10).
    """

    region: int
    offset: int
    size: int
    stride: int


class Window(msgspec.Struct, frozen=True):
    """A run of bytes in a region."""

    region: int
    offset: int
    size: int


class Description(msgspec.Struct, frozen=True, tag_field="type", tag=str):
    """The fixed outside of a function."""

    regions: tuple[Region, ...]
    vectors: int  # MSI-X vectors; 0: no MSI-X capability
    doorbells: tuple[Doorbell, ...]
    isr: tuple[Window, ...]  # one byte each; reading clears (virtio 1.3 §4.1.4.5)
    pending: Window | None  # the MSI-X pending bit array
    without_intx: bool = False  # a VF has no pin (PCIe 5.0 §9.5.2)
