"""The limits of the manual's transitional page, by kernel version. Data."""

import re
from typing import NamedTuple


class Version(NamedTuple):
    """A kernel's version, as far as limits go by it."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @classmethod
    def parse(cls, text: str) -> "Version":
        """From "6.12" or a release such as "6.12.107+deb13-amd64". Raises ValueError."""
        found = re.match(r"(\d+)\.(\d+)", text)
        if not found:
            raise ValueError(f"{text!r} is no kernel version, such as 6.12")
        return cls(int(found[1]), int(found[2]))


TRANSITIONAL = Version(3, 10)  # transitional hotplug devices
SRIOV_CONFIGURE = Version(4, 18)  # virtio_pci takes sriov_numvfs
IOMMU_MAY_STAY = Version(5, 1)  # before, a legacy driver needs intel_iommu=off
VF_LEGACY = Version(6, 9)  # transitional VFs need a newer one
