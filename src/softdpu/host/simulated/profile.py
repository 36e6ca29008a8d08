"""Which host is simulated: its kernel, CPU and IOMMU, and what the manual's limits say about those. Data and rules."""

from typing import Literal, TypeAlias

import msgspec

from softdpu.doctor.limits import IOMMU_MAY_STAY, SRIOV_CONFIGURE, TRANSITIONAL, VF_LEGACY, Version

Vendor: TypeAlias = Literal["intel", "amd"]
VENDOR_IDS: dict[Vendor, str] = {"intel": "GenuineIntel", "amd": "AuthenticAMD"}


class Profile(msgspec.Struct, frozen=True):
    """A host, as its operator chose it."""

    kernel: Version = Version(6, 12)
    cpu: Vendor = "intel"
    iommu: bool = True

    @property
    def release(self) -> str:
        """What uname -r says."""
        return f"{self.kernel}.0-softdpu"

    @property
    def takes_sriov(self) -> bool:
        """Whether its virtio_pci implements sriov_numvfs."""
        return self.kernel >= SRIOV_CONFIGURE

    @property
    def has_virtio_vfio_pci(self) -> bool:
        """Whether its kernel has the driver of transitional VFs."""
        return self.kernel > VF_LEGACY

    @property
    def legacy_dma_works(self) -> bool:
        """Whether a legacy driver's physical addresses reach the memory that they mean."""
        return not self.iommu or self.kernel >= IOMMU_MAY_STAY

    def notes(self) -> tuple[str, ...]:
        """What the manual says about a host like this, each a sentence."""
        notes = {
            "transitional devices need kernel 3.10 or later": self.kernel >= TRANSITIONAL,
            "sriov_numvfs of a virtio device is not implemented before kernel 4.18: no VFs": self.takes_sriov,
            "before kernel 5.1 a legacy driver needs intel_iommu=off: force_legacy will not work here": (
                self.legacy_dma_works
            ),
            "transitional VFs need a kernel newer than 6.9: there is no virtio_vfio_pci here": self.has_virtio_vfio_pci,
            "the hardware's manual excludes AMD hosts; with softdpu they work": self.cpu != "amd",
        }
        return tuple(note for note, fine in notes.items() if not fine)
