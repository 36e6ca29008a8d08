"""VFIO_USER_DEVICE_GET_REGION_INFO."""

import errno

import pytest

from softdpu.testkit import Client, PciFunction, RequestFailed, wire
from softdpu.testkit.wire import Op, RegionFlag, RegionIndex

READ_WRITE = RegionFlag.READ | RegionFlag.WRITE


def test_io_bar_holds_the_legacy_registers(vmm: Client) -> None:
    info = vmm.region_info(RegionIndex.BAR0)
    assert (info["flags"], info["argsz"]) == (READ_WRITE, 32)
    assert info["length"] in (32, 64)


def test_configuration_space_is_4096_bytes(vmm: Client) -> None:
    info = vmm.region_info(RegionIndex.CONFIG)
    assert (info["length"], info["flags"]) == (4096, READ_WRITE)


def test_regions_are_as_large_as_their_bars(vmm: Client) -> None:
    bars = PciFunction(vmm).bars()
    assert bars
    for bar in bars:
        assert vmm.region_info(bar.index)["length"] == bar.size


def test_regions_that_are_not_there_are_empty(vmm: Client) -> None:
    bars = {bar.index for bar in PciFunction(vmm).bars()}
    for index in {*range(9)} - bars - {RegionIndex.CONFIG}:
        info = vmm.region_info(index)
        assert (info["length"], info["flags"]) == (0, 0)


def test_no_region_can_be_mapped(vmm: Client) -> None:
    """A mappable region would turn posted writes off in QEMU, for the whole device."""
    assert not any(vmm.region_info(index)["flags"] & RegionFlag.MMAP for index in range(9))


@pytest.mark.parametrize("index", [9, 10, 0x7FFFFFFF, 0xFFFFFFFF])
def test_unknown_region(vmm: Client, index: int) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.region_info(index)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("argsz", [0, 31])
def test_less_room_than_needed(vmm: Client, argsz: int) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.region_info(0, argsz=argsz)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("length", [0, 12, 31])
def test_short_body(vmm: Client, length: int) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.DEVICE_GET_REGION_INFO, wire.REGION_INFO.pack(argsz=32)[:length])
    assert refused.value.errno == errno.EINVAL
