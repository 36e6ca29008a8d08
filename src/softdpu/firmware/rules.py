"""What must hold between parameters, and what follows from them together."""

from collections.abc import Container, Mapping

from softdpu.firmware.parameters import FirmwareError

MOST_VFS = 504  # of all PFs together
LEAST_VECTORS = 4  # configuration, receive, transmit, control


def check(values: Mapping[str, int], changed: Container[str]) -> None:
    """Refuse a combination that could not boot.

    The default of VIRTIO_NET_EMULATION_NUM_MSIX is too few, and scripts switch emulation on without it: as long as
    nobody sets it, devices get the least that works.
    """
    vectors = values["VIRTIO_NET_EMULATION_NUM_MSIX"]
    chosen = "VIRTIO_NET_EMULATION_NUM_MSIX" in changed
    if chosen and values["VIRTIO_NET_EMULATION_ENABLE"] and vectors < LEAST_VECTORS:
        raise FirmwareError(
            f"VIRTIO_NET_EMULATION_NUM_MSIX={vectors} is too few while VIRTIO_NET_EMULATION_ENABLE=1: a device needs "
            f"{LEAST_VECTORS} or more vectors. Set VIRTIO_NET_EMULATION_NUM_MSIX={LEAST_VECTORS} or more together "
            f"with it."
        )
    pfs, vfs = values["VIRTIO_NET_EMULATION_NUM_PF"], values["VIRTIO_NET_EMULATION_NUM_VF"]
    if pfs * vfs > MOST_VFS:
        raise FirmwareError(
            f"VIRTIO_NET_EMULATION_NUM_PF={pfs} × VIRTIO_NET_EMULATION_NUM_VF={vfs} makes {pfs * vfs} VFs; at most "
            f"{MOST_VFS} fit in all. Set VIRTIO_NET_EMULATION_NUM_VF to {MOST_VFS // pfs} or fewer."
        )


def hotplug_places(values: Mapping[str, int]) -> int:
    """How many PFs can be hot-plugged: a port each, without the switch's own."""
    ports = values["PCI_SWITCH_EMULATION_NUM_PORT"] if values["PCI_SWITCH_EMULATION_ENABLE"] else 0
    return max(ports - 1, 0)


def vf_vectors(values: Mapping[str, int]) -> int:
    """MSI-X vectors of a VF."""
    return values["VIRTIO_NET_EMULATION_NUM_VF_MSIX"] or values["VIRTIO_NET_EMULATION_NUM_MSIX"]


def functions(values: Mapping[str, int]) -> int:
    """How many virtio-net devices there can be: static PFs, their VFs, hotplug PFs."""
    pfs = values["VIRTIO_NET_EMULATION_NUM_PF"]
    return pfs * (1 + values["VIRTIO_NET_EMULATION_NUM_VF"]) + hotplug_places(values)


def scalable_function_shortage(values: Mapping[str, int]) -> str | None:
    """A sentence for the log when PF_TOTAL_SF does not cover every device, else None."""
    needed, there = functions(values), values["PF_TOTAL_SF"]
    if not values["VIRTIO_NET_EMULATION_ENABLE"] or needed <= there:
        return None
    return (
        f"PF_TOTAL_SF={there} scalable functions do not cover {needed} devices (static PFs, their VFs and hotplug "
        f"PFs): on a BlueField the last {needed - there} could not be made. mlxconfig -d 03:00.0 s PER_PF_NUM_SF=1 "
        f"PF_TOTAL_SF={needed}."
    )
