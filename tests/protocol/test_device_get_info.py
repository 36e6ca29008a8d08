"""VFIO_USER_DEVICE_GET_INFO."""

import errno

import pytest

from softdpu.testkit import Client, RequestFailed, wire
from softdpu.testkit.wire import DeviceFlag, Op


def test_device_is_pci_and_can_be_reset(vmm: Client) -> None:
    assert vmm.device_info() == {"argsz": 16, "flags": DeviceFlag.RESET | DeviceFlag.PCI, "regions": 9, "irqs": 5}


def test_more_room_than_needed(vmm: Client) -> None:
    assert vmm.device_info(argsz=64)["argsz"] == 16


def test_less_room_than_needed(vmm: Client) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.device_info(argsz=15)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("length", [0, 4, 15])
def test_short_body(vmm: Client, length: int) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.request(Op.DEVICE_GET_INFO, wire.DEVICE_INFO.pack(argsz=16)[:length])
    assert refused.value.errno == errno.EINVAL
