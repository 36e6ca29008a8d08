"""Configuration space as it is after reset, with the bits that a driver may change."""

from __future__ import annotations

from functools import lru_cache

from softdpu.pci.plan import MSIX_BAR, NOTIFY_STRIDE, Bar, Plan, Structure, plan
from softdpu.pci.sriov import MOST_VECTORS, Sriov
from softdpu.spec import pci
from softdpu.spec import pci_extended as x
from softdpu.spec import virtio_pci as v
from softdpu.spec.registers import Bank


class Image:
    """4096 bytes, and a mask of the same length: a bit set in it can be written. Not changed once it is built."""

    def __init__(self, plan: Plan) -> None:
        self.bytes = bytearray(pci.CONFIG_BYTES)
        self.mask = bytearray(pci.CONFIG_BYTES)
        self.at: dict[str, int] = {}  # where each capability lies; "window" is the PCI configuration access one
        self._link = pci.HEADER.offset("capabilities")
        self._free = pci.CAPABILITIES_AT
        self._header(plan)
        self._bars(plan)
        self._power_management()
        self._express()
        self._msix(plan)
        self._virtio(plan)
        self._extended(plan)

    def _place(self, bank: Bank, at: int, values: dict[str, int]) -> None:
        for register in bank.registers:
            where = slice(at + register.offset, at + register.end)
            self.bytes[where] = values.get(register.name, 0).to_bytes(register.size, "little")
            self.mask[where] = register.mask.to_bytes(register.size, "little")

    def _capability(self, name: str, bank: Bank, values: dict[str, int]) -> None:
        at = self._free
        self._place(bank, at, values)
        self.bytes[self._link] = at
        self.at[name], self._link, self._free = at, at + 1, at + -(-bank.size // 4) * 4

    def _header(self, plan: Plan) -> None:
        values = {
            "vendor_id": v.VENDOR_ID,
            "device_id": plan.device_id,
            "status": pci.STATUS_CAPABILITIES,
            "revision": plan.revision,
            "class_code": pci.CLASS_ETHERNET,
            "subsystem_vendor_id": v.VENDOR_ID,
            "subsystem_id": plan.subsystem_id,
            "interrupt_pin": 0 if plan.virtual else pci.INTA,  # a VF has no INTx, PCIe 5.0 §9.5.2
        }
        self._place(pci.HEADER, 0, values)

    def _bars(self, plan: Plan) -> None:
        """Address bits above the size can be written: after writing ones it reads back the size (PCI 3.0 §6.2.5.1)."""
        self._address_registers(pci.HEADER.offset("bar0"), plan.bars)

    def _address_registers(self, first: int, bars: tuple[Bar, ...]) -> None:
        self.mask[first : first + 24] = bytes(24)
        for bar in bars:
            at, width = first + 4 * bar.index, 8 if bar.flags & 0x4 else 4
            self.bytes[at : at + width] = bar.flags.to_bytes(width, "little")
            self.mask[at : at + width] = (-bar.size % (1 << 8 * width)).to_bytes(width, "little")

    def _power_management(self) -> None:
        values = {"id": pci.CAP_ID_PM, "capabilities": pci.PM_VERSION_1_2, "control": pci.PM_NO_SOFT_RESET}
        self._capability("power", pci.POWER_MANAGEMENT, values)

    def _express(self) -> None:
        values = {
            "id": pci.CAP_ID_EXPRESS,
            "capabilities": pci.EXPRESS_VERSION_2_ENDPOINT,
            "device_capabilities": pci.DEVCAP_ROLE_BASED_ERRORS | pci.DEVCAP_FLR,
            "device_control": pci.DEVCTL_RESET,
            "link_capabilities": pci.LINK_2_5GT_X1 | pci.LINKCAP_L0S,
            "link_status": pci.LINK_2_5GT_X1,
            "link_capabilities_2": pci.LINKCAP2_2_5GT,
            "link_control_2": pci.LINKCTL2_2_5GT,
        }
        self._capability("express", pci.EXPRESS, values)

    def _msix(self, plan: Plan) -> None:
        if not plan.vectors:
            return
        values = {
            "id": pci.CAP_ID_MSIX,
            "control": plan.vectors - 1,
            "table": MSIX_BAR,
            "pending": plan.pending_at | MSIX_BAR,
        }
        self._capability("msix", pci.MSIX, values)

    def _virtio(self, plan: Plan) -> None:
        for structure in plan.structures:
            bank = v.NOTIFY_CAP if structure.cfg_type == v.CAP_NOTIFY else v.VIRTIO_CAP
            self._capability(f"virtio {structure.cfg_type}", bank, _pointer(structure, bank))
        if plan.structures:
            values = {"cap_vndr": pci.CAP_ID_VENDOR, "cap_len": v.PCI_CFG_CAP.size, "cfg_type": v.CAP_PCI}
            self._capability("window", v.PCI_CFG_CAP, values)

    def _extended(self, plan: Plan) -> None:
        """Extended capabilities, each naming the next (PCIe 5.0 §7.6.3)."""
        if plan.sriov is None and not plan.virtual:
            return
        at, more = x.EXTENDED_AT, 0 if plan.sriov is None else x.EXTENDED_AT + x.ARI.size
        next_function = plan.sriov.next_function if plan.sriov else 0
        self.at["ari"] = at
        header = x.CAP_ID_ARI | x.VERSION_1 | more << x.NEXT_SHIFT
        self._place(x.ARI, at, {"header": header, "capability": next_function << 8})
        if plan.sriov is not None:
            self._sriov(more, plan.sriov)

    def _sriov(self, at: int, sriov: Sriov) -> None:
        self.at["sriov"] = at
        member = virtual_function(MOST_VECTORS)
        values = {
            "header": x.CAP_ID_SRIOV | x.VERSION_1,
            "capabilities": x.SRIOV_ARI_PRESERVED,
            "initial_vfs": sriov.total,
            "total_vfs": sriov.total,
            "first_vf_offset": sriov.offset,
            "vf_stride": sriov.stride,
            "vf_device_id": member.device_id,
            "supported_page_sizes": x.SUPPORTED_PAGE_SIZES,
            "system_page_size": x.PAGE_4K,
        }
        self._place(x.SRIOV, at, values)
        self._address_registers(at + x.SRIOV.offset("vf_bar0"), member.bars)


def virtual_function(vectors: int) -> Plan:
    """What all VFs have in common: identity and BARs."""
    return plan("modern", vectors, 2, virtual=True)


def _pointer(structure: Structure, bank: Bank) -> dict[str, int]:
    return {
        "cap_vndr": pci.CAP_ID_VENDOR,
        "cap_len": bank.size,
        "cfg_type": structure.cfg_type,
        "bar": structure.bar,
        "offset": structure.offset,
        "length": structure.length,
        "notify_off_multiplier": NOTIFY_STRIDE,
    }


@lru_cache(maxsize=64)
def image(plan: Plan) -> Image:
    """The image of a plan, shared by all functions of that shape."""
    return Image(plan)
