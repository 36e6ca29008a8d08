"""PCI Express extended capabilities, from 0x100 of configuration space on (PCIe 5.0 §7.6, §9.3.3). Data only."""

from softdpu.spec.registers import RO, RW, Bank, Reg

EXTENDED_AT = 0x100
CAP_ID_ARI, CAP_ID_SRIOV = 0x000E, 0x0010
VERSION_1 = 1 << 16  # of the capability header: id, version, and where the next one lies
NEXT_SHIFT = 20

ARI = Bank(
    "alternative routing-id capability",
    "PCIe 5.0 §7.8.8",
    (
        Reg("header", 0x00, 4, RO),
        Reg("capability", 0x04, 2, RO),  # next function in bits 8-15; no function groups
        Reg("control", 0x06, 2, RO),
    ),
)

SRIOV = Bank(
    "SR-IOV capability",
    "PCIe 5.0 §9.3.3",
    (
        Reg("header", 0x00, 4, RO),
        Reg("capabilities", 0x04, 4, RO),
        Reg("control", 0x08, 2, RW, writable=0x0019),  # VF Enable, VF MSE, ARI Capable Hierarchy
        Reg("status", 0x0A, 2, RO),
        Reg("initial_vfs", 0x0C, 2, RO),
        Reg("total_vfs", 0x0E, 2, RO),
        Reg("num_vfs", 0x10, 2, RW),  # while VF Enable is clear, up to total_vfs
        Reg("function_dependency", 0x12, 1, RO),
        Reg("first_vf_offset", 0x14, 2, RO),
        Reg("vf_stride", 0x16, 2, RO),
        Reg("vf_device_id", 0x1A, 2, RO),
        Reg("supported_page_sizes", 0x1C, 4, RO),
        Reg("system_page_size", 0x20, 4, RW),  # while VF Enable is clear, one of those supported
        Reg("vf_bar0", 0x24, 4, RW),
        Reg("vf_bar1", 0x28, 4, RW),
        Reg("vf_bar2", 0x2C, 4, RW),
        Reg("vf_bar3", 0x30, 4, RW),
        Reg("vf_bar4", 0x34, 4, RW),
        Reg("vf_bar5", 0x38, 4, RW),
        Reg("migration_state_array", 0x3C, 4, RO),
    ),
)
SRIOV_ARI_PRESERVED = 1 << 1  # capabilities: the hierarchy bit survives power transitions
VF_ENABLE, VF_MEMORY_ENABLE, ARI_HIERARCHY = 1 << 0, 1 << 3, 1 << 4  # control
PAGE_4K = 1 << 0
SUPPORTED_PAGE_SIZES = 0x553  # 4, 8, 64, 256 KiB, 1 and 4 MiB: those that every SR-IOV device has to have, §9.3.3.12
