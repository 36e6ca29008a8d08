"""Identity and capabilities, as a guest finds them."""

import pytest

from softdpu.net.device import Function
from softdpu.net.state import Layout
from softdpu.pci.description import CONFIG_REGION
from softdpu.spec import pci
from softdpu.spec import virtio_pci as v
from tests.virtio.drivers import capability, header, make

LAYOUTS: tuple[Layout, ...] = ("modern", "transitional", "legacy")


@pytest.mark.parametrize(
    ("layout", "device", "revision", "subsystem"),
    [("modern", 0x1041, 1, 0x1100), ("transitional", 0x1000, 0, 1), ("legacy", 0x1000, 0, 1)],
)
def test_identity(layout: Layout, device: int, revision: int, subsystem: int) -> None:
    """virtio 1.3 §4.1.2.1 and §4.1.2.3: ids by which drivers match."""
    registers = header(make(layout))
    assert registers.read("vendor_id") == registers.read("subsystem_vendor_id") == 0x1AF4
    assert registers.read("device_id") == device
    assert registers.read("revision") == revision
    assert registers.read("subsystem_id") == subsystem
    assert registers.read("class_code") == 0x020000
    assert registers.read("header_type") == 0


def test_interrupt_pin_is_inta() -> None:
    assert header(make(vectors=0)).read("interrupt_pin") == 1


def chain(function: Function) -> list[tuple[int, int]]:
    """Offset and id of each capability; fails on a loop."""
    space, _ = function.read(CONFIG_REGION, 0, 256)
    at, found = space[0x34], list[tuple[int, int]]()
    while at:
        assert at % 4 == 0
        assert at >= 0x40
        assert at not in {offset for offset, _ in found}
        found.append((at, space[at]))
        at = space[at + 1]
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("vectors", [0, 4])
def test_list_of_capabilities_is_sound(layout: Layout, vectors: int) -> None:
    """PCI 3.0 §6.7: dword-aligned, in the device-specific part, ending in 0; announced in the status register."""
    function = make(layout, vectors=vectors)
    ids = [cap_id for _, cap_id in chain(function)]
    assert ids.count(pci.CAP_ID_MSIX) == bool(vectors)
    assert ids.count(pci.CAP_ID_VENDOR) == (0 if layout == "legacy" else 5)
    assert ids.count(pci.CAP_ID_EXPRESS) == ids.count(pci.CAP_ID_PM) == 1
    assert header(function).read("status") == pci.STATUS_CAPABILITIES


@pytest.mark.parametrize(
    ("cfg_type", "offset", "length"),
    [(v.CAP_COMMON, 0, 64), (v.CAP_ISR, 0x1000, 4), (v.CAP_DEVICE, 0x2000, 24), (v.CAP_NOTIFY, 0x3000, 12)],
)
def test_virtio_structures_are_named(cfg_type: int, offset: int, length: int) -> None:
    """virtio 1.3 §4.1.4: each structure that is required, in the 64-bit memory BAR."""
    registers = capability(make(), v.VIRTIO_CAP, pci.CAP_ID_VENDOR, cfg_type)
    assert registers.read("bar") == 4
    assert (registers.read("offset"), registers.read("length")) == (offset, length)
    assert registers.read("cap_len") >= 16


def test_notification_capability_has_its_multiplier() -> None:
    """virtio 1.3 §4.1.4.4: cap_len covers the multiplier; the structure is long enough for the last queue."""
    function = make(queues=65)
    registers = capability(function, v.NOTIFY_CAP, pci.CAP_ID_VENDOR, v.CAP_NOTIFY)
    assert registers.read("cap_len") == 20
    assert registers.read("notify_off_multiplier") == 4
    assert registers.read("length") >= 64 * 4 + 2


def test_pci_access_capability_is_there() -> None:
    """virtio 1.3 §4.1.4.9.1."""
    assert capability(make(), v.PCI_CFG_CAP, pci.CAP_ID_VENDOR, v.CAP_PCI).read("cap_len") == 20


def test_msix_capability_names_table_and_pending_bits() -> None:
    """PCI 3.0 §6.8.2.3: the table size is kept as one less."""
    registers = capability(make(vectors=200), pci.MSIX, pci.CAP_ID_MSIX)
    assert registers.read("control") == 199
    assert registers.read("table") == 0 | 1
    assert registers.read("pending") == 200 * 16 | 1


def test_express_endpoint_can_be_reset_by_function() -> None:
    """PCIe 5.0 §7.5.3.2-3."""
    registers = capability(make(), pci.EXPRESS, pci.CAP_ID_EXPRESS)
    assert registers.read("capabilities") == 0x0002
    assert registers.read("device_capabilities") & pci.DEVCAP_FLR


def test_extended_space_is_empty() -> None:
    """PCIe 5.0 §7.9.1: no extended capability is a header of zeros."""
    assert make().read(CONFIG_REGION, 0x100, 4)[0] == bytes(4)
