"""The tables themselves: what a stranger could get wrong by editing them."""

import pytest

from softdpu.spec import legacy, pci, virtio_net, virtio_pci
from softdpu.spec.registers import RO, RW, WO, Bank, Reg


def test_registers_do_not_overlap() -> None:
    with pytest.raises(AssertionError, match="second overlaps first"):
        Bank("wrong", "", (Reg("first", 0, 4, RW), Reg("second", 2, 2, RW)))


def test_mask_follows_access() -> None:
    assert Reg("a", 0, 2, RW).mask == 0xFFFF
    assert Reg("a", 0, 2, WO).mask == 0xFFFF
    assert Reg("a", 0, 2, RO).mask == 0
    assert Reg("a", 0, 2, RW, writable=0x0547).mask == 0x0547


@pytest.mark.parametrize(
    ("bank", "size"),
    [
        (virtio_pci.COMMON, 64),  # virtio 1.3 §4.1.4.3, with the administration queue's registers
        (virtio_pci.VIRTIO_CAP, 16),  # §4.1.4
        (virtio_pci.NOTIFY_CAP, 20),  # §4.1.4.4
        (virtio_pci.PCI_CFG_CAP, 20),  # §4.1.4.9
        (legacy.LEGACY, 20),  # §4.1.4.10
        (legacy.LEGACY_MSIX, 24),
        (virtio_net.CONFIG, 24),  # §5.1.4, up to supported_hash_types
        (pci.HEADER, 64),
        (pci.POWER_MANAGEMENT, 8),
        (pci.EXPRESS, 60),
        (pci.MSIX, 12),
        (pci.MSIX_ENTRY, 16),
    ],
)
def test_banks_have_the_size_of_their_clause(bank: Bank, size: int) -> None:
    assert bank.size == size


def test_common_configuration_offsets() -> None:
    """The offsets that Linux's virtio_pci.h names."""
    offsets = {name: virtio_pci.COMMON.offset(name) for name in ("device_status", "queue_desc", "queue_reset")}
    assert offsets == {"device_status": 20, "queue_desc": 32, "queue_reset": 58}
