"""Virtio over PCI, the modern interface: registers, capabilities, identity (virtio 1.3 §2.1, §4.1). Data only."""

from softdpu.spec.registers import RO, RW, Bank, Reg

VENDOR_ID = 0x1AF4  # §4.1.2.1
MODERN_DEVICE_BASE = 0x1040  # plus the virtio device id
TRANSITIONAL_NET_DEVICE_ID = 0x1000  # §4.1.2.1, table of transitional ids
NET_DEVICE_TYPE = 1  # §5.1.1
QUMRANET_SUBSYSTEM_ID = 0x1100  # what QEMU's modern devices have; §4.1.2.1 asks for 0x40 or more
MODERN_REVISION = 1
TRANSITIONAL_REVISION = 0  # §4.1.2.3

NO_VECTOR = 0xFFFF  # §4.1.5.1.2, VIRTIO_MSI_NO_VECTOR
MAX_VECTORS = 0x800
ISR_QUEUE, ISR_CONFIG = 1, 2  # §4.1.4.5

# Device status, §2.1, in the order in which a driver sets them.
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK = 1, 2, 4, 8
NEEDS_RESET, FAILED = 64, 128
STATUS_NAMES = {
    ACKNOWLEDGE: "ACK",
    DRIVER: "DRIVER",
    DRIVER_OK: "DRIVER_OK",
    FEATURES_OK: "FEATURES_OK",
    NEEDS_RESET: "DEVICE_NEEDS_RESET",
    FAILED: "FAILED",
}

# cfg_type of the vendor capabilities, §4.1.4.
CAP_COMMON, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI = 1, 2, 3, 4, 5

COMMON = Bank(
    "common configuration",
    "virtio 1.3 §4.1.4.3",
    (
        Reg("device_feature_select", 0x00, 4, RW),
        Reg("device_feature", 0x04, 4, RO),
        Reg("driver_feature_select", 0x08, 4, RW),
        Reg("driver_feature", 0x0C, 4, RW),
        Reg("config_msix_vector", 0x10, 2, RW),
        Reg("num_queues", 0x12, 2, RO),
        Reg("device_status", 0x14, 1, RW),
        Reg("config_generation", 0x15, 1, RO),
        Reg("queue_select", 0x16, 2, RW),
        Reg("queue_size", 0x18, 2, RW),
        Reg("queue_msix_vector", 0x1A, 2, RW),
        Reg("queue_enable", 0x1C, 2, RW),
        Reg("queue_notify_off", 0x1E, 2, RO),
        Reg("queue_desc", 0x20, 8, RW),
        Reg("queue_driver", 0x28, 8, RW),
        Reg("queue_device", 0x30, 8, RW),
        Reg("queue_notif_config_data", 0x38, 2, RO, needs="VIRTIO_F_NOTIF_CONFIG_DATA"),
        Reg("queue_reset", 0x3A, 2, RW, needs="VIRTIO_F_RING_RESET"),
        Reg("admin_queue_index", 0x3C, 2, RO, needs="VIRTIO_F_ADMIN_VQ"),
        Reg("admin_queue_num", 0x3E, 2, RO, needs="VIRTIO_F_ADMIN_VQ"),
    ),
)

VIRTIO_CAP = Bank(
    "virtio structure capability",
    "virtio 1.3 §4.1.4",
    (
        Reg("cap_vndr", 0x00, 1, RO),
        Reg("cap_next", 0x01, 1, RO),
        Reg("cap_len", 0x02, 1, RO),
        Reg("cfg_type", 0x03, 1, RO),
        Reg("bar", 0x04, 1, RO),
        Reg("id", 0x05, 1, RO),
        Reg("padding", 0x06, 2, RO),
        Reg("offset", 0x08, 4, RO),
        Reg("length", 0x0C, 4, RO),
    ),
)

NOTIFY_CAP = Bank(
    "notification capability",
    "virtio 1.3 §4.1.4.4",
    (*VIRTIO_CAP.registers, Reg("notify_off_multiplier", 0x10, 4, RO)),
)

PCI_CFG_CAP = Bank(
    "PCI configuration access capability",
    "virtio 1.3 §4.1.4.9",
    (
        *VIRTIO_CAP.registers[:4],
        Reg("bar", 0x04, 1, RW),
        Reg("id", 0x05, 1, RO),
        Reg("padding", 0x06, 2, RO),
        Reg("offset", 0x08, 4, RW),
        Reg("length", 0x0C, 4, RW),
        Reg("pci_cfg_data", 0x10, 4, RW),
    ),
)

# Bytes of each area of a virtqueue of n descriptors, and its alignment: split (§2.7) and packed (§2.8.10.1).
DESCRIPTOR_ALIGN, DRIVER_ALIGN, DEVICE_ALIGN = 16, 2, 4
EVENT_BYTES, EVENT_ALIGN = 4, 4  # of a packed ring: what stands in the driver and in the device area
MAX_QUEUE_SIZE = 32768


def descriptor_bytes(size: int) -> int:
    """Bytes of the descriptor table (§2.7), or of the packed descriptor ring."""
    return 16 * size


def driver_bytes(size: int) -> int:
    """Bytes of the available ring, with used_event (§2.7)."""
    return 6 + 2 * size


def device_bytes(size: int) -> int:
    """Bytes of the used ring, with avail_event (§2.7)."""
    return 6 + 8 * size
