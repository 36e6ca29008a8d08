"""Each check of the manual's page, where it bites."""

import pytest

from softdpu.doctor import checks
from softdpu.doctor.checks import Check, Row, Verdict, examine, worst
from tests.doctor.conftest import Tree

OK, WARNING, BAD = Verdict


def row(check: Check, tree: Tree) -> Row:
    """The only row of a check."""
    (only,) = check(tree.machine)
    return only


@pytest.mark.parametrize(
    ("release", "verdict", "why"),
    [
        ("2.6.32-754.el6", BAD, "3.10"),
        ("3.10.0-1160.el7", WARNING, "Function not implemented"),
        ("4.17.1", WARNING, "Function not implemented"),
        ("4.18.0-553.el8", WARNING, "newer than 6.9"),
        ("6.9.12", WARNING, "newer than 6.9"),
        ("6.10.0", OK, ""),
        ("strange", WARNING, "no version"),
    ],
)
def test_limits_of_the_kernel(tree: Tree, release: str, verdict: Verdict, why: str) -> None:
    found = row(checks.kernel, tree.kernel(release))
    assert (found.verdict, why in found.why) == (verdict, True)


@pytest.mark.parametrize(
    ("release", "line", "verdict"),
    [
        ("5.0.1", "quiet", BAD),
        ("5.0.1", "intel_iommu=off", OK),
        ("5.1.0", "quiet", OK),
        ("6.1.0", "intel_iommu=on", OK),
    ],
)
def test_an_old_kernel_needs_its_iommu_off(tree: Tree, release: str, line: str, verdict: Verdict) -> None:
    assert row(checks.iommu, tree.kernel(release).put("proc/cmdline", line)).verdict is verdict


def test_amd_is_warned_of_with_the_reason(tree: Tree) -> None:
    assert row(checks.cpu, tree) == Row("CPU vendor", "GenuineIntel", OK)
    tree.put("proc/cpuinfo", "vendor_id\t: AuthenticAMD\n")
    assert "excludes AMD" in row(checks.cpu, tree).why


def test_a_built_in_driver_is_told_on_the_command_line(tree: Tree) -> None:
    tree.put(f"lib/modules/{tree.release}/modules.builtin", "kernel/drivers/virtio/virtio_pci.ko\n")
    assert "virtio_pci.force_legacy=1" in row(checks.virtio_pci, tree).why
    tree.put("proc/cmdline", "quiet virtio_pci.force_legacy=1")
    assert row(checks.virtio_pci, tree).verdict is OK


def test_a_loaded_module_is_told_by_modprobe(tree: Tree) -> None:
    tree.module("virtio_pci", force_legacy="N")
    assert "modprobe -rv virtio_pci" in row(checks.virtio_pci, tree).why
    tree.module("virtio_pci", force_legacy="Y")
    assert row(checks.virtio_pci, tree).found == "module, force_legacy=1"


def test_a_driver_that_is_not_there_is_missing(tree: Tree) -> None:
    assert row(checks.virtio_pci, tree).verdict is BAD
    assert row(checks.virtio_vfio_pci, tree).verdict is WARNING
    tree.module("virtio_vfio_pci", loaded=False)
    assert row(checks.virtio_vfio_pci, tree).found == "module, not loaded"


def test_each_root_bus_has_its_own_sum(tree: Tree) -> None:
    full, roomy = checks.io_space(tree.machine)
    assert (full.verdict, "= 1 devices; 2 of 2 windows" in full.found) == (WARNING, True)
    assert (roomy.verdict, "= 4 devices; 0 of 5 windows" in roomy.found) == (OK, True)


def test_what_only_root_may_see_is_said_to_be_hidden(tree: Tree) -> None:
    tree.put("proc/ioports", "0000-0000 : PCI Bus 0000:00\n")
    tree.put("sys/bus/pci/devices/0000:00:02.0/config", bytes(14) + b"\x01" + bytes(49))
    assert [row(check, tree).found for check in (checks.io_space, checks.ports)] == ["hidden", "hidden"]


def test_the_exit_status_is_that_of_the_worst_row(tree: Tree) -> None:
    assert worst(examine(tree.machine)) is BAD  # no virtio_pci
    tree.put("proc/ioports", "0d00-ffff : PCI Bus 0000:00\n").module("virtio_pci", force_legacy="Y")
    assert worst(examine(tree.machine)) is WARNING  # no hot-plug port
    assert worst(()) is OK
