"""Modifying: all of the changes to all of the devices, or none."""

import pytest

from softdpu.controller import modify
from softdpu.controller.devices import Device
from softdpu.controller.errors import OperatorError
from softdpu.controller.recovery import content
from softdpu.controller.requests import ModifyDevice, ModifyQueue
from softdpu.virtio.effects import SetCoalescing
from tests.controller.made import bind, made


def keep(_: Device) -> None:
    """Needs no file."""


def states(*devices: Device) -> list[bytes]:
    return [device.state() for device in devices]


def test_each_property_is_set() -> None:
    device = made()
    request = ModifyDevice(pf=0, mac="0C:C4:7A:00:00:01", mtu=9000, speed=10000, link=0)
    modify.commit([device], request, keep)
    config = device.function.state.config
    assert (config.mac[-1], config.mtu, config.speed, config.link_up) == (1, 9000, 10000, False)


@pytest.mark.parametrize("change", [{"mac": "0C:C4:7A:00:00:01"}, {"mtu": 1400}])
def test_with_a_driver_bound_nothing_changes(change: dict[str, object]) -> None:
    device = made()
    bind(device)
    before = states(device)
    request = ModifyDevice(pf=0, speed=10, link=0, **change)  # type: ignore[arg-type]
    for step in (modify.rehearse, lambda devices, asked: modify.commit(devices, asked, keep)):
        with pytest.raises(OperatorError, match="unbind the guest's driver first") as refused:
            step([device], request)
        assert refused.value.errno == 16
        assert states(device) == before


def test_link_and_speed_change_while_a_driver_is_bound() -> None:
    device = made()
    bind(device)
    modify.rehearse([device], ModifyDevice(pf=0, link=0, speed=100))


def test_one_bound_driver_of_all_devices_changes_none() -> None:
    free, bound = made(0), made(1)
    bind(bound)
    before = states(free, bound)
    with pytest.raises(OperatorError, match=bound.name):
        modify.commit([free, bound], ModifyDevice(all=True, mtu=1400), keep)
    assert states(free, bound) == before


def test_a_file_that_cannot_be_written_changes_none() -> None:
    """The files of those before it are written back."""
    devices, written = [made(0), made(1)], {}
    before = states(*devices)

    def full(device: Device) -> None:
        if device.number == 1:
            raise OperatorError(28, "no space.")
        written[device.number] = device.function.state.config.mtu

    with pytest.raises(OperatorError, match="no space"):
        modify.commit(devices, ModifyDevice(all=True, mtu=1400), full)
    assert states(*devices) == before
    assert written == {0: 1500}


def test_the_settings_of_queues_are_kept_and_told() -> None:
    device, kept = made(), []
    request = ModifyQueue(pf=0, period_mode="cqe", period=50, max_count=8)
    modify.rehearse([device], request)
    [effects] = modify.commit([device], request, lambda device: kept.append(content(device)))
    assert list(effects)[-2:] == [SetCoalescing(0, 8, 50, "cqe"), SetCoalescing(1, 8, 50, "cqe")]
    assert kept[0].chosen["moderation"] == device.function.state.config.moderation


def test_rehearsing_leaves_the_function_alone() -> None:
    device = made()
    function, before = device.function, states(device)
    modify.rehearse([device], ModifyDevice(pf=0, mtu=1400))
    assert device.function is function
    assert states(device) == before


@pytest.mark.parametrize(
    ("change", "number"),
    [({"msix_num": 4}, 1), ({"num_qps": 2}, 1)],
)
def test_what_no_pf_has_is_refused_together_with_the_rest(change: dict[str, object], number: int) -> None:
    device = made()
    with pytest.raises(OperatorError, match=device.name) as refused:
        modify.rehearse([device], ModifyDevice(pf=0, link=0, **change))  # type: ignore[arg-type]
    assert refused.value.errno == number
