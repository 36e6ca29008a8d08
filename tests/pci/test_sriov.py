"""SR-IOV of a physical function (PCIe 5.0 §9.3.3), and what a VF looks like to whoever it was passed on to."""

import msgspec
import pytest

from softdpu.net.device import Function
from softdpu.net.mistakes import BadSetting, BadState
from softdpu.pci.description import CONFIG_REGION
from softdpu.pci.sriov import Sriov
from softdpu.spec import features as f
from softdpu.spec import pci, pci_extended
from softdpu.spec.pci_extended import ARI_HIERARCHY, VF_ENABLE, VF_MEMORY_ENABLE
from tests.virtio.drivers import Registers, header, make

TOTAL, OFFSET = 126, 38
CONTROL = VF_ENABLE | VF_MEMORY_ENABLE


def physical() -> Function:
    return make("transitional", sriov=Sriov(TOTAL, OFFSET, next_function=3))


def extended(function: Function) -> dict[int, int]:
    """Where each extended capability lies, by its id; found by walking the list."""
    space, _ = function.read(CONFIG_REGION, 0, 4096)
    found, at = {}, pci_extended.EXTENDED_AT
    while at and (head := int.from_bytes(space[at : at + 4], "little")):
        found[head & 0xFFFF] = at
        at = head >> pci_extended.NEXT_SHIFT
    return found


def sriov(function: Function) -> Registers:
    return Registers(function, pci_extended.SRIOV, CONFIG_REGION, extended(function)[pci_extended.CAP_ID_SRIOV])


def test_a_function_without_vfs_has_no_extended_capability() -> None:
    assert extended(make()) == {}
    assert not make().device_features >> f.SR_IOV & 1


def test_a_physical_function_tells_of_its_vfs() -> None:
    function = physical()
    registers = sriov(function)
    names = ("initial_vfs", "total_vfs", "num_vfs", "first_vf_offset", "vf_stride", "vf_device_id", "system_page_size")
    assert [registers.read(name) for name in names] == [TOTAL, TOTAL, 0, OFFSET, 1, 0x1041, 1]
    assert function.device_features >> f.SR_IOV & 1
    ari = Registers(function, pci_extended.ARI, CONFIG_REGION, extended(function)[pci_extended.CAP_ID_ARI])
    assert ari.read("capability") >> 8 == 3


def test_vfs_are_there_while_they_are_enabled() -> None:
    function = physical()
    registers = sriov(function)
    registers.write("num_vfs", 5)
    assert function.enabled_vfs == 0
    registers.write("control", CONTROL)
    assert function.enabled_vfs == 5
    registers.write("control", 0)
    assert function.enabled_vfs == 0


def test_num_vfs_cannot_change_while_vfs_are_enabled() -> None:
    """§9.3.3.7."""
    function = physical()
    function.enable_vfs(5)
    registers = sriov(function)
    registers.write("num_vfs", 6)
    registers.write("system_page_size", 2)
    assert (registers.read("num_vfs"), registers.read("system_page_size"), function.enabled_vfs) == (5, 1, 5)


@pytest.mark.parametrize("number", [TOTAL + 1, 0xFFFF])
def test_more_vfs_than_there_can_be_are_ignored(number: int) -> None:
    function = physical()
    registers = sriov(function)
    registers.write("num_vfs", TOTAL)
    registers.write("num_vfs", number)
    assert registers.read("num_vfs") == TOTAL


@pytest.mark.parametrize(("written", "kept"), [(2, 2), (0x400, 0x400), (0, 1), (3, 1), (4, 1), (1 << 31, 1)])
def test_the_page_size_is_one_of_those_supported(written: int, kept: int) -> None:
    """§9.3.3.13."""
    registers = sriov(physical())
    registers.write("system_page_size", written)
    assert registers.read("system_page_size") == kept


def test_vf_bars_have_the_size_of_one_vf() -> None:
    """§9.3.3.14. A VF of the most vectors has the same."""
    registers = sriov(physical())
    for bar in range(6):
        registers.write(f"vf_bar{bar}", 0xFFFFFFFF)
    ones = [registers.read(f"vf_bar{bar}") for bar in range(6)]
    assert ones == [0, 0xFFFFE000, 0, 0, 0xFFFFC00C, 0xFFFFFFFF]
    for vectors in (2, 256):
        member = header(make("modern", virtual=True, vectors=vectors))
        for bar in range(6):
            member.write(f"bar{bar}", 0xFFFFFFFF)
        assert [member.read(f"bar{bar}") for bar in range(6)] == ones


def test_what_is_fixed_cannot_be_written() -> None:
    function = physical()
    at = extended(function)[pci_extended.CAP_ID_SRIOV]
    writable = {"control", "num_vfs", "system_page_size"}
    before, _ = function.read(CONFIG_REGION, at, 0x24)
    for register in pci_extended.SRIOV.registers:
        if register.offset < 0x24 and register.name not in writable:
            function.write(CONFIG_REGION, at + register.offset, b"\xff" * register.size)
    assert function.read(CONFIG_REGION, at, 0x24)[0] == before
    sriov(function).write("control", 0xFFFF)
    assert sriov(function).read("control") == CONTROL | ARI_HIERARCHY


def test_function_level_reset_takes_the_vfs_away() -> None:
    """§9.2.2.2: VF Enable is clear after it."""
    function = physical()
    function.enable_vfs(TOTAL)
    express = function._space._device_control
    function.write(CONFIG_REGION, express, pci.DEVCTL_FLR.to_bytes(2, "little"))
    assert (function.enabled_vfs, sriov(function).read("num_vfs")) == (0, 0)


def test_a_vf_has_no_intx_and_no_vfs() -> None:
    """§9.5.2; the rest of its header is what VFIO shows of it."""
    member = make("modern", virtual=True)
    assert header(member).read("interrupt_pin") == 0
    assert (header(member).read("vendor_id"), header(member).read("device_id")) == (0x1AF4, 0x1041)
    assert list(extended(member)) == [pci_extended.CAP_ID_ARI]
    with pytest.raises(BadSetting, match="a VF has no VFs of its own"):
        make("modern", virtual=True, sriov=Sriov(1, 1))


def test_enabled_vfs_are_part_of_the_state() -> None:
    function = physical()
    function.enable_vfs(7)
    assert Function.restore(function.state).enabled_vfs == 7
    again = physical()
    again.state.pci.config = {extended(again)[pci_extended.CAP_ID_SRIOV] + 0x10: TOTAL + 1}
    with pytest.raises(BadState, match=f"has {TOTAL + 1} VFs of {TOTAL}"):
        Function.restore(again.state)
    assert msgspec.to_builtins(physical().state.pci) == {}


@pytest.mark.parametrize("shape", [Sriov(0, 1), Sriov(1, 0), Sriov(1, 1, 0), Sriov(0x10000, 1), Sriov(1, 1, 1, 256)])
def test_what_cannot_be_is_refused(shape: Sriov) -> None:
    with pytest.raises(BadSetting):
        make("modern", sriov=shape)
