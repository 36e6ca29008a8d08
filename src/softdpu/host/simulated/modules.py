"""The modules that the simulated kernel has, with the PCI drivers in them. Data."""

from dataclasses import dataclass

VIRTIO_VENDOR = 0x1AF4


@dataclass(frozen=True)
class Driver:
    """A PCI driver. ``vendor`` is what its table of ids matches; 0: nothing, but for ids that the operator adds."""

    name: str  # its directory in /sys/bus/pci/drivers
    vendor: int = 0
    vfio: bool = False  # it gives functions to user space


@dataclass(frozen=True)
class Module:
    """A loadable module."""

    name: str
    size: int  # bytes, as lsmod shows them
    needs: tuple[str, ...] = ()  # modules that are loaded before it
    drivers: tuple[Driver, ...] = ()
    parameters: tuple[str, ...] = ()  # booleans


MODULES: dict[str, Module] = {
    module.name: module
    for module in (
        Module("virtio", 24576),
        Module("virtio_ring", 57344, ("virtio",)),
        Module("virtio_pci_legacy_dev", 12288),
        Module("virtio_pci_modern_dev", 20480),
        Module(
            "virtio_pci",
            40960,
            ("virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev"),
            (Driver("virtio-pci", VIRTIO_VENDOR),),
            ("force_legacy",),
        ),
        Module("virtio_net", 94208, ("virtio_ring",)),
        Module("iommufd", 98304),
        Module("vfio", 69632, ("iommufd",)),
        Module("vfio_iommu_type1", 49152, ("vfio",)),
        Module("vfio_pci_core", 90112, ("vfio",)),
        Module("vfio_pci", 20480, ("vfio_pci_core",), (Driver("vfio-pci", vfio=True),)),
        Module("virtio_vfio_pci", 20480, ("vfio_pci_core", "virtio_pci"), (Driver("virtio_vfio_pci", vfio=True),)),
    )
}
AT_BOOT = ("virtio_pci", "virtio_net")
YES, NO = ("1", "Y", "y", "on"), ("0", "N", "n", "off")


def dependencies(name: str) -> list[str]:
    """A module and all that it needs, in the order in which they are loaded."""
    order: list[str] = []
    for needed in MODULES[name].needs:
        order += [module for module in dependencies(needed) if module not in order]
    return [*order, name]
