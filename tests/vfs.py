"""A DPU whose static PFs have VFs, and what a host does with them."""

from pathlib import Path
from typing import Any

from softdpu.pci.description import CONFIG_REGION
from softdpu.spec import pci, pci_extended
from softdpu.testkit import Client
from tests.dpu_under_test import FIRMWARE, Dpu, Plugged

PFS, VFS = 2, 126
SETTINGS = FIRMWARE | {
    "VIRTIO_NET_EMULATION_NUM_PF": PFS,
    "VIRTIO_NET_EMULATION_NUM_VF": VFS,
    "PF_TOTAL_SF": 512,
}
ENABLE = pci_extended.VF_ENABLE | pci_extended.VF_MEMORY_ENABLE


def set_vfs(dpu: Dpu, pf: int, number: int, force: bool = False) -> None:
    """What a host does by writing to sriov_numvfs. Raises OperatorError."""
    dpu._api().post("/v1/vfs", {"pf": pf, "num_vfs": number, "force": force})


def listed(dpu: Dpu, kind: str = "VF") -> list[dict[str, Any]]:
    """What ``virtnet list`` says of the functions of a kind."""
    return [device for device in dpu._api().get("/v1/list")["devices"] if device["function_type"] == kind]


def function(dpu: Dpu, kind: str, number: int) -> Plugged:
    """The nth function of a kind, as the tests know hot-plugged ones."""
    shown = listed(dpu, kind)[number]
    return Plugged(
        shown["vuid"],
        shown["pf_id"],
        bytes.fromhex(shown["mac"].replace(":", "")),
        shown["sf_rep_net_device"],
        Path(shown["export_socket"]),
        shown,
    )


class Physical:
    """A static PF as its host's PCI core drives it, by its configuration space alone."""

    def __init__(self, dpu: Dpu, number: int = 0) -> None:
        self.vmm = Client(function(dpu, "static PF", number).socket)
        self.vmm.negotiate()
        self.at = self._capability()

    def _capability(self) -> int:
        at = pci_extended.EXTENDED_AT
        while at:
            head = int.from_bytes(self.vmm.read(CONFIG_REGION, at, 4), "little")
            if head & 0xFFFF == pci_extended.CAP_ID_SRIOV:
                return at
            at = head >> pci_extended.NEXT_SHIFT
        raise LookupError("no SR-IOV capability")

    def read(self, name: str) -> int:
        """A register of the SR-IOV capability."""
        register = pci_extended.SRIOV.named[name]
        return int.from_bytes(self.vmm.read(CONFIG_REGION, self.at + register.offset, register.size), "little")

    def write(self, name: str, value: int) -> None:
        register = pci_extended.SRIOV.named[name]
        self.vmm.write(CONFIG_REGION, self.at + register.offset, value.to_bytes(register.size, "little"))

    def enable(self, number: int) -> None:
        """As Linux does: the number, then VF Enable."""
        self.write("num_vfs", number)
        self.write("control", ENABLE)

    def disable(self) -> None:
        self.write("control", 0)
        self.write("num_vfs", 0)

    def function_level_reset(self) -> None:
        flr(self.vmm)

    def close(self) -> None:
        self.vmm.close()


def flr(vmm: Client) -> None:
    """Function level reset, by the device control register of the PCI Express capability."""
    at = vmm.read(CONFIG_REGION, pci.HEADER.offset("capabilities"), 1)[0]
    while vmm.read(CONFIG_REGION, at, 1)[0] != pci.CAP_ID_EXPRESS:
        at = vmm.read(CONFIG_REGION, at + 1, 1)[0]
    vmm.write(CONFIG_REGION, at + pci.EXPRESS.offset("device_control"), pci.DEVCTL_FLR.to_bytes(2, "little"))
