"""The checks, one function a row, in the order in which the manual's transitional page asks for things."""

from collections.abc import Callable, Iterator
from enum import IntEnum

import msgspec

from softdpu.doctor.bridges import hotplug_ports
from softdpu.doctor.ioports import Hidden, parse, spaces
from softdpu.doctor.limits import IOMMU_MAY_STAY, SRIOV_CONFIGURE, TRANSITIONAL, VF_LEGACY
from softdpu.doctor.machine import Machine

FORCE_LEGACY = "virtio_pci.force_legacy"
YES = ("1", "Y", "y")


class Verdict(IntEnum):
    """What a row comes to; the worst is the exit status."""

    OK = 0
    WARNING = 1
    BAD = 2


class Row(msgspec.Struct, frozen=True):
    """One thing looked at."""

    check: str
    found: str
    verdict: Verdict
    why: str = ""


Check = Callable[[Machine], Iterator[Row]]


def examine(machine: Machine) -> tuple[Row, ...]:
    """Every row, in order."""
    return tuple(row for check in CHECKS for row in check(machine))


def worst(rows: tuple[Row, ...]) -> Verdict:
    """The worst verdict among rows."""
    return max((row.verdict for row in rows), default=Verdict.OK)


def kernel(machine: Machine) -> Iterator[Row]:
    """Its version, against each limit of the manual."""
    version = machine.kernel
    if version is None:
        yield Row("kernel", machine.release or "unknown", Verdict.WARNING, "its release names no version")
    elif version < TRANSITIONAL:
        yield Row("kernel", machine.release, Verdict.BAD, f"transitional hotplug devices need {TRANSITIONAL} or later")
    elif version < SRIOV_CONFIGURE:
        why = f'sriov_numvfs of a virtio device answers "Function not implemented" before {SRIOV_CONFIGURE}: no VFs'
        yield Row("kernel", machine.release, Verdict.WARNING, why)
    elif version <= VF_LEGACY:
        why = f"transitional VFs need a host kernel newer than {VF_LEGACY}; hotplug devices are not affected"
        yield Row("kernel", machine.release, Verdict.WARNING, why)
    else:
        yield Row("kernel", machine.release, Verdict.OK)


def iommu(machine: Machine) -> Iterator[Row]:
    """A legacy driver hands physical addresses to the device: behind an IOMMU of an old kernel they mean nothing."""
    settings = [word for word in machine.arguments if word.startswith(("intel_iommu=", "iommu=", "amd_iommu="))]
    found = " ".join(settings) or "not set"
    version = machine.kernel
    old = version is not None and version < IOMMU_MAY_STAY
    if old and "intel_iommu=off" not in settings:
        why = f"kernels before {IOMMU_MAY_STAY} need intel_iommu=off on the command line for a legacy driver"
        yield Row("kernel command line: iommu", found, Verdict.BAD, why)
    else:
        yield Row("kernel command line: iommu", found, Verdict.OK)


def cpu(machine: Machine) -> Iterator[Row]:
    """The manual excludes AMD hosts."""
    vendor = machine.cpu_vendor or "unknown"
    if vendor == "AuthenticAMD":
        why = "the hardware's manual excludes AMD hosts for transitional devices; softdpu's own devices work on them"
        yield Row("CPU vendor", vendor, Verdict.WARNING, why)
    else:
        yield Row("CPU vendor", vendor, Verdict.OK)


def virtio_pci(machine: Machine) -> Iterator[Row]:
    """The guest's driver, and whether it will use the legacy interface."""
    check = "virtio_pci"
    given = any(word in {f"{FORCE_LEGACY}=1", FORCE_LEGACY} for word in machine.arguments)
    if machine.built_in(check):
        why = "" if given else f"a guest with this kernel needs {FORCE_LEGACY}=1 on its command line to drive legacy"
        yield Row(check, "built in", Verdict.OK if given else Verdict.WARNING, why)
    elif not (machine.available(check) or machine.loaded(check)):
        yield Row(check, "missing", Verdict.BAD, "this kernel has no driver for virtio devices on PCI")
    elif machine.loaded(check):
        yield _loaded(machine, check)
    else:
        why = "a guest with this kernel loads it with: modprobe -v virtio_pci force_legacy=1"
        yield Row(check, "module, not loaded", Verdict.OK, why)


def _loaded(machine: Machine, module: str) -> Row:
    if machine.parameter(module, "force_legacy") in YES:
        return Row(module, "module, force_legacy=1", Verdict.OK)
    why = "to drive legacy, load it anew: modprobe -rv virtio_pci; modprobe -v virtio_pci force_legacy=1"
    return Row(module, "module, force_legacy not set", Verdict.WARNING, why)


def virtio_vfio_pci(machine: Machine) -> Iterator[Row]:
    """The host's driver of transitional VFs."""
    check = "virtio_vfio_pci"
    if machine.built_in(check) or machine.loaded(check):
        yield Row(check, "there", Verdict.OK)
    elif machine.available(check):
        yield Row(check, "module, not loaded", Verdict.OK, "load it with: modprobe -v virtio_vfio_pci")
    else:
        why = "this kernel was built without CONFIG_VIRTIO_VFIO_PCI: no transitional VFs here"
        yield Row(check, "missing", Verdict.WARNING, why)


def io_space(machine: Machine) -> Iterator[Row]:
    """A row a root bus: its I/O ports, and how many transitional hotplug devices fit at a bridge each."""
    check = "I/O ports"
    try:
        buses = spaces(parse(machine.read("proc/ioports")))
    except Hidden as error:
        yield Row(check, "hidden", Verdict.WARNING, str(error))
        return
    if not buses:
        yield Row(check, "none", Verdict.BAD, "no PCI bus has I/O ports here: a transitional device cannot get any")
    for bus in buses:
        sum_ = f"({bus.allocated} - 4K)/4K = {bus.fit} devices"
        found = f"{bus.allocated} bytes: {sum_}; {bus.taken} of {bus.possible} windows are taken"
        full = bus.taken >= bus.possible
        why = "no window is left for another transitional hotplug device on this bus" if full else ""
        yield Row(f"{check} of bus {bus.bus}", found, Verdict.WARNING if full else Verdict.OK, why)


def ports(machine: Machine) -> Iterator[Row]:
    """A row a hot-plug port: without an I/O window it cannot take a transitional device."""
    check = "hot-plug ports"
    try:
        found = hotplug_ports(machine.devices)
    except PermissionError:
        yield Row(check, "hidden", Verdict.WARNING, "configuration space is shown to root only: run this as root")
        return
    if not found:
        yield Row(check, "none", Verdict.WARNING, "nothing can be hot-plugged into this machine")
    for port in found:
        if port.windows:
            yield Row(f"hot-plug port {port.address}", f"I/O {port.base:04x}-{port.limit:04x}", Verdict.OK)
        else:
            why = "a transitional device plugged here gets no I/O ports; see docs/how-to/io-windows.md"
            yield Row(f"hot-plug port {port.address}", "no I/O window", Verdict.WARNING, why)


CHECKS: tuple[Check, ...] = (kernel, iommu, cpu, virtio_pci, virtio_vfio_pci, io_space, ports)
