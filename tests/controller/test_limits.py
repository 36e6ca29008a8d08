"""What the firmware lets an operator have; each refusal names the setting."""

import pytest

from softdpu.controller.errors import OperatorError
from softdpu.controller.limits import Limits
from softdpu.firmware.parameters import DEFAULTS
from tests.dpu_under_test import FIRMWARE


def limits(**settings: int) -> Limits:
    return Limits(DEFAULTS | FIRMWARE | settings, {"mlx5_0": 0, "mlx5_1": 1}, "mlx5_0", mrg_rxbuf=True)


def test_numbers_follow_from_the_settings() -> None:
    found = limits(VIRTIO_NET_EMULATION_NUM_PF=2, VIRTIO_NET_EMULATION_NUM_VF=3)
    assert (found.hotplug_devices, found.devices, found.vectors, found.queues) == (31, 2 * 4 + 31, 10, 10)


def test_vectors_are_at_least_what_works() -> None:
    assert limits(VIRTIO_NET_EMULATION_NUM_MSIX=2).vectors == 4


def test_queues_are_at_most_65() -> None:
    assert limits(VIRTIO_NET_EMULATION_NUM_MSIX=2048).queues == 65


@pytest.mark.parametrize(
    ("settings", "asked", "sentence"),
    [
        ({"PCI_SWITCH_EMULATION_ENABLE": 0}, (3, False, 0, 0), "PCI_SWITCH_EMULATION_ENABLE=1"),
        ({"VIRTIO_EMULATION_HOTPLUG_TRANS": 0}, (3, True, 0, 0), "VIRTIO_EMULATION_HOTPLUG_TRANS=1"),
        ({"PCI_SWITCH_EMULATION_NUM_PORT": 3}, (3, False, 2, 0), "2 of 2 are used"),
        ({}, (11, False, 0, 0), "max_queues 11 is beyond the limit 10"),
        ({}, (3, False, 0, 11), r"num_msix 11 is not accepted: it must be 0\.\.10"),
    ],
)
def test_a_refusal_names_the_setting(
    settings: dict[str, int], asked: tuple[int, bool, int, int], sentence: str
) -> None:
    with pytest.raises(OperatorError, match=sentence):
        limits(**settings).check_hotplug(*asked)


def test_an_unknown_ib_device_is_told_which_there_are() -> None:
    assert limits().port("mlx5_1") == 1
    with pytest.raises(OperatorError, match="use one of mlx5_0, mlx5_1") as refused:
        limits().port("mlx5_7")
    assert refused.value.errno == 19
