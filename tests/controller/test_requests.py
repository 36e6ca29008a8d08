"""What an operator can ask for: the checks that a structure carries."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from softdpu.controller.errors import OperatorError
from softdpu.controller.requests import DeviceRef, HostAttach, Hotplug, ModifyDevice, Query, parse_features, parse_mac


def hotplug(**changes: Any) -> Hotplug:
    good = {"ib_device": "mlx5_0", "mac": "0C:C4:7A:FF:22:93", "mtu": 1500, "max_queues": 3, "max_queue_size": 256}
    return msgspec.convert(good | changes, Hotplug)


@pytest.mark.parametrize("text", ["0C:C4:7A:FF:22:93", "0c-c4-7a-ff-22-93", "0c:c4:7a:ff:22:93"])
def test_spellings_of_a_mac(text: str) -> None:
    assert parse_mac(text) == bytes.fromhex("0cc47aff2293")


@pytest.mark.parametrize(
    "text", ["", "0C:C4:7A:FF:22", "0C:C4:7A:FF:22:93:00", "C:C4:7A:FF:22:93", "0C:C4:7A:FF:22:+3", "٠٠:00:00:00:00:01"]
)
def test_what_is_no_mac(text: str) -> None:
    with pytest.raises(OperatorError, match="six two-digit hexadecimal bytes"):
        parse_mac(text)


@pytest.mark.parametrize("first", [1, 3, 0xFF])
def test_a_group_address_is_no_mac_of_a_device(first: int) -> None:
    with pytest.raises(OperatorError, match="a unicast address"):
        parse_mac(f"{first:02x}:00:00:00:00:01")


@pytest.mark.parametrize(
    ("text", "bits"), [("0x0", 0), ("80000", 0x80000), ("0XfF", 255), ("0x" + "f" * 32, 2**128 - 1)]
)
def test_features_are_hexadecimal_of_any_width(text: str, bits: int) -> None:
    assert parse_features(text) == bits


@pytest.mark.parametrize("text", ["", "0x", "-1", "0x1_0", "0x" + "f" * 33, " 1"])
def test_what_is_no_feature_mask(text: str) -> None:
    with pytest.raises(OperatorError, match="a hexadecimal number"):
        parse_features(text)


@pytest.mark.parametrize("mtu", [68, 9216])
def test_mtu_bounds_pass(mtu: int) -> None:
    assert hotplug(mtu=mtu).mtu == mtu


@pytest.mark.parametrize("size", [64, 128, 1024, 32768])
def test_queue_sizes_are_powers_of_two(size: int) -> None:
    assert hotplug(max_queue_size=size).max_queue_size == size


@pytest.mark.parametrize("sf_num", [999, 65536, -1])
def test_sf_numbers_start_at_1000(sf_num: int) -> None:
    with pytest.raises(OperatorError, match="Leave -u away to have one chosen"):
        hotplug(sf_num=sf_num)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (DeviceRef, "no device is named"),
        (lambda: DeviceRef(pf=0, vuid="X"), "not by both"),
        (lambda: DeviceRef(vf=0), "add -p PF"),
        (lambda: DeviceRef(pf=-1), "0 or more"),
        (Query, "no device is named"),
        (lambda: ModifyDevice(pf=0), "nothing to modify"),
        (lambda: ModifyDevice(pf=0, mtu=67), "68..9216"),
        (lambda: ModifyDevice(pf=0, max_queue_size=3), "a power of two"),
        (lambda: ModifyDevice(pf=0, speed=-1), "Mb/s"),
        (lambda: ModifyDevice(pf=0, num_qps=0), "1 or more"),
        (lambda: HostAttach(qmp="x"), "the absolute path"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(OperatorError, match=sentence):
        make()


def test_changes_are_the_properties_that_were_given() -> None:
    request = ModifyDevice(vuid="X", mtu=1400, link=0)
    assert request.changes == {"mtu": 1400, "link": 0}
