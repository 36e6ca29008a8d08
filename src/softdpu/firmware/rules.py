"""What must hold between parameters, and what follows from them together."""

from collections.abc import Container, Iterator, Mapping

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
    pfs, each = values["VIRTIO_NET_EMULATION_NUM_PF"], values["VIRTIO_NET_EMULATION_NUM_VF"]
    if pfs * each > MOST_VFS:
        raise FirmwareError(
            f"VIRTIO_NET_EMULATION_NUM_PF={pfs} × VIRTIO_NET_EMULATION_NUM_VF={each} makes {pfs * each} VFs; at most "
            f"{MOST_VFS} fit in all. Set VIRTIO_NET_EMULATION_NUM_VF to {MOST_VFS // pfs} or fewer."
        )


def hotplug_places(values: Mapping[str, int]) -> int:
    """How many PFs can be hot-plugged: a port each, without the switch's own."""
    ports = values["PCI_SWITCH_EMULATION_NUM_PORT"] if values["PCI_SWITCH_EMULATION_ENABLE"] else 0
    return max(ports - 1, 0)


def vfs(values: Mapping[str, int]) -> int:
    """How many VFs each static PF can have."""
    return values["VIRTIO_NET_EMULATION_NUM_VF"] if values["SRIOV_EN"] else 0


def vf_vectors(values: Mapping[str, int]) -> int:
    """MSI-X vectors of a VF."""
    return values["VIRTIO_NET_EMULATION_NUM_VF_MSIX"] or values["VIRTIO_NET_EMULATION_NUM_MSIX"]


def functions(values: Mapping[str, int]) -> int:
    """How many virtio-net devices there can be: static PFs, their VFs, hotplug PFs."""
    pfs = values["VIRTIO_NET_EMULATION_NUM_PF"]
    return pfs * (1 + vfs(values)) + hotplug_places(values)


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


def contradictions(values: Mapping[str, int], legacy_access: bool) -> Iterator[str]:
    """Sentences for the log: settings of VFs that have no effect because of others. ``legacy_access``: lm_prov."""
    number = values["VIRTIO_NET_EMULATION_NUM_VF"] if values["VIRTIO_NET_EMULATION_NUM_PF"] else 0
    if number and not values["SRIOV_EN"]:
        yield (
            f"VIRTIO_NET_EMULATION_NUM_VF={number}, but SRIOV_EN=0: no PF has VFs. "
            "mlxconfig -d 03:00.0 -y s SRIOV_EN=1, then softdpu power-cycle."
        )
    if legacy_access and not vfs(values):
        yield "lm_prov in virtnet.conf makes VFs transitional, but the firmware allows no VFs."
    if values["VIRTIO_NET_EMULATION_VF_PCI_LAYOUT"] and vfs(values) and not legacy_access:
        yield (
            "VIRTIO_NET_EMULATION_VF_PCI_LAYOUT=1 asks for transitional VFs, but a VF has no I/O BAR of its own: they "
            'are modern until "lm_prov": "kernel" is in virtnet.conf and the service was restarted.'
        )
