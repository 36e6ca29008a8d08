"""PCI configuration space of an endpoint: header and standard capabilities (PCI 3.0 §6, PCIe 5.0 §7.5). Data only."""

from softdpu.spec.registers import RO, RW, Bank, Reg

CONFIG_BYTES = 4096  # PCIe 5.0 §7.2; a conventional bus shows the first 256
CAPABILITIES_AT = 0x40

COMMAND_IO, COMMAND_MEMORY, COMMAND_MASTER = 1 << 0, 1 << 1, 1 << 2
COMMAND_INTX_DISABLE = 1 << 10
COMMAND_WRITABLE = 0x0547  # I/O, memory, master, parity response, SERR#, INTx disable
STATUS_INTERRUPT, STATUS_CAPABILITIES = 1 << 3, 1 << 4

BAR_IO, BAR_MEMORY_32, BAR_MEMORY_64_PREFETCH = 0x1, 0x0, 0xC  # low bits of a base address register, PCI 3.0 §6.2.5.1

HEADER = Bank(
    "type 0 header",
    "PCI 3.0 §6.1, PCIe 5.0 §7.5.1",
    (
        Reg("vendor_id", 0x00, 2, RO),
        Reg("device_id", 0x02, 2, RO),
        Reg("command", 0x04, 2, RW, writable=COMMAND_WRITABLE),
        Reg("status", 0x06, 2, RO),
        Reg("revision", 0x08, 1, RO),
        Reg("class_code", 0x09, 3, RO),
        Reg("cache_line_size", 0x0C, 1, RW),
        Reg("latency_timer", 0x0D, 1, RO),
        Reg("header_type", 0x0E, 1, RO),
        Reg("bist", 0x0F, 1, RO),
        Reg("bar0", 0x10, 4, RW),
        Reg("bar1", 0x14, 4, RW),
        Reg("bar2", 0x18, 4, RW),
        Reg("bar3", 0x1C, 4, RW),
        Reg("bar4", 0x20, 4, RW),
        Reg("bar5", 0x24, 4, RW),
        Reg("cardbus_cis", 0x28, 4, RO),
        Reg("subsystem_vendor_id", 0x2C, 2, RO),
        Reg("subsystem_id", 0x2E, 2, RO),
        Reg("expansion_rom", 0x30, 4, RO),
        Reg("capabilities", 0x34, 1, RO),
        Reg("interrupt_line", 0x3C, 1, RW),
        Reg("interrupt_pin", 0x3D, 1, RO),
        Reg("min_gnt", 0x3E, 1, RO),
        Reg("max_lat", 0x3F, 1, RO),
    ),
)
CLASS_ETHERNET = 0x020000
INTA = 1

CAP_ID_PM, CAP_ID_VENDOR, CAP_ID_EXPRESS, CAP_ID_MSIX = 0x01, 0x09, 0x10, 0x11

POWER_MANAGEMENT = Bank(
    "power management capability",
    "PCI PM 1.2 §3.2",
    (
        Reg("id", 0x00, 1, RO),
        Reg("next", 0x01, 1, RO),
        Reg("capabilities", 0x02, 2, RO),
        Reg("control", 0x04, 2, RW, writable=0x0003),  # the power state
        Reg("bridge", 0x06, 1, RO),
        Reg("data", 0x07, 1, RO),
    ),
)
PM_VERSION_1_2 = 0x0003
PM_NO_SOFT_RESET = 1 << 3
PM_D0, PM_D3_HOT = 0, 3

EXPRESS = Bank(
    "PCI Express capability",
    "PCIe 5.0 §7.5.3",
    (
        Reg("id", 0x00, 1, RO),
        Reg("next", 0x01, 1, RO),
        Reg("capabilities", 0x02, 2, RO),
        Reg("device_capabilities", 0x04, 4, RO),
        Reg("device_control", 0x08, 2, RW),
        Reg("device_status", 0x0A, 2, RO),
        Reg("link_capabilities", 0x0C, 4, RO),
        Reg("link_control", 0x10, 2, RW, writable=0x00CB),
        Reg("link_status", 0x12, 2, RO),
        Reg("slot_capabilities", 0x14, 4, RO),
        Reg("slot_control", 0x18, 2, RO),
        Reg("slot_status", 0x1A, 2, RO),
        Reg("root_control", 0x1C, 2, RO),
        Reg("root_capabilities", 0x1E, 2, RO),
        Reg("root_status", 0x20, 4, RO),
        Reg("device_capabilities_2", 0x24, 4, RO),
        Reg("device_control_2", 0x28, 2, RO),
        Reg("device_status_2", 0x2A, 2, RO),
        Reg("link_capabilities_2", 0x2C, 4, RO),
        Reg("link_control_2", 0x30, 2, RO),
        Reg("link_status_2", 0x32, 2, RO),
        Reg("slot_capabilities_2", 0x34, 4, RO),
        Reg("slot_control_2", 0x38, 2, RO),
        Reg("slot_status_2", 0x3A, 2, RO),
    ),
)
EXPRESS_VERSION_2_ENDPOINT = 0x0002
DEVCAP_ROLE_BASED_ERRORS, DEVCAP_FLR = 1 << 15, 1 << 28
DEVCTL_RESET = 0x2810  # relaxed ordering, no snoop, 512-byte reads: the values after reset, §7.5.3.4
DEVCTL_FLR = 1 << 15  # reads as 0
LINK_2_5GT_X1 = 0x0011
LINKCAP_L0S = 1 << 10
LINKCAP2_2_5GT, LINKCTL2_2_5GT = 1 << 1, 1

MSIX = Bank(
    "MSI-X capability",
    "PCI 3.0 §6.8.2",
    (
        Reg("id", 0x00, 1, RO),
        Reg("next", 0x01, 1, RO),
        Reg("control", 0x02, 2, RW, writable=0xC000),
        Reg("table", 0x04, 4, RO),
        Reg("pending", 0x08, 4, RO),
    ),
)
MSIX_ENABLE, MSIX_FUNCTION_MASK = 1 << 15, 1 << 14

MSIX_ENTRY = Bank(
    "MSI-X table entry",
    "PCI 3.0 §6.8.2.6",
    (
        Reg("address", 0x00, 8, RW, writable=0xFFFFFFFFFFFFFFFC),
        Reg("data", 0x08, 4, RW),
        Reg("control", 0x0C, 4, RW, writable=0x1),  # the mask bit, set after reset
    ),
)
