"""What the operator can set, and the sentence for what cannot be."""

import pytest

from softdpu.net.device import Function
from softdpu.net.mistakes import BadSetting, DriverBound, Mistake, NotImplementedFeature
from softdpu.spec import virtio_net as n
from softdpu.spec import virtio_pci as v
from softdpu.virtio.effects import RaiseConfig, Reset, SetFilter
from softdpu.virtio.outcome import NOTHING
from tests.virtio.drivers import Modern, make, of_type


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("layout", "ancient", "layout 'ancient' is none of modern, transitional, legacy"),
        ("mac", b"\1\0\x5e\0\0\1", "mac 01:00:5e:00:00:01 is not a unicast Ethernet address of 6 bytes"),
        ("mac", bytes(6), "mac 00:00:00:00:00:00 is not a unicast Ethernet address of 6 bytes"),
        ("mac", b"", "mac (empty) is not a unicast Ethernet address of 6 bytes"),
        ("mtu", 67, "mtu 67 is not between 68 and 9216"),
        ("mtu", 9217, "mtu 9217 is not between 68 and 9216"),
        ("queues", 1, "queues 1 is not between 2 and 65"),
        ("queues", 66, "queues 66 is not between 2 and 65"),
        ("queue_size", 1, "queue_size 1 is not between 2 and 32768"),
        ("queue_size", 100, "queue_size 100 is not a power of two"),
        ("queue_size", 65536, "queue_size 65536 is not between 2 and 32768"),
        ("vectors", -1, "vectors -1 is not between 0 and 2048"),
        ("vectors", 2049, "vectors 2049 is not between 0 and 2048"),
        ("speed", 0x80000000, "speed 2147483648 is not between 0 and 2147483647"),
        ("features", -1, "features -1 is negative"),
    ],
)
def test_values_that_cannot_be(setting: str, value: object, sentence: str) -> None:
    with pytest.raises(BadSetting) as refused:
        make(**{setting: value})  # type: ignore[arg-type]
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("bits", "name"),
    [(1 << 10, "VIRTIO_NET_F_GUEST_UFO (10)"), (1 << 39, "VIRTIO_F_NOTIF_CONFIG_DATA (39)"), (1 << 99, "bit 99 (99)")],
)
def test_features_that_are_not_implemented_are_refused_by_name(bits: int, name: str) -> None:
    with pytest.raises(NotImplementedFeature, match="does not implement") as refused:
        make(features=bits | 1 << 33)
    assert f"asks for {name}, which" in str(refused.value)
    assert isinstance(refused.value, Mistake)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("mtu", 68),
        ("mtu", 9216),
        ("queues", 2),
        ("queues", 65),
        ("queue_size", 2),
        ("queue_size", 32768),
        ("vectors", 0),
        ("vectors", 2048),
        ("speed", 0),
        ("speed", 0xFFFFFFFF),
        ("features", 1 << 33 | 1 << 5),
    ],
)
def test_limits_themselves_can_be(setting: str, value: object) -> None:
    assert isinstance(make(**{setting: value}), Function)  # type: ignore[arg-type]


# ---- modes of reception


def test_rx_mode_is_a_mask_in_the_order_of_the_drivers_commands() -> None:
    function = make("modern")
    [effect] = function.set_rx_mode(0b10_0110).items
    assert isinstance(effect, SetFilter)
    assert not (effect.promiscuous or effect.no_multicast or effect.no_unicast)
    assert effect.all_multicast
    assert effect.all_unicast
    assert effect.no_broadcast
    assert function.rx_mode == 0b10_0110


def test_rx_mode_holds_until_the_driver_commands_another_and_again_after_a_reset() -> None:
    function = make("modern")
    function.set_rx_mode(0)
    Modern(function).bring_up()
    assert function.rx_mode == 0
    function.command(2, bytes([n.CTRL_RX, n.CTRL_RX_PROMISC, 1]), 1)
    assert function.rx_mode == 1
    function.reset()
    assert function.rx_mode == 0
    assert Function.create(function.state.config).rx_mode == 0


@pytest.mark.parametrize("modes", [-1, 64])
def test_modes_that_are_none(modes: int) -> None:
    with pytest.raises(BadSetting, match="rx_mode"):
        make().set_rx_mode(modes)


# ---- the device status


def test_a_running_driver_can_be_asked_for_a_reset() -> None:
    """Virtio 1.3 §2.1.2; a reset by the driver ends it."""
    function = make("modern")
    Modern(function).bring_up()
    assert of_type(function.set_state(v.NEEDS_RESET), RaiseConfig) == [RaiseConfig()]
    assert function.status == 0xF | v.NEEDS_RESET
    assert (function.set_state(function.status), function.faults) == (NOTHING, ())
    Modern(function).write("device_status", 0)
    assert function.status == 0


def test_a_function_with_a_driver_at_work_is_not_reset() -> None:
    function = make("modern")
    Modern(function).bring_up()
    with pytest.raises(DriverBound):
        function.set_state(0)
    function.set_state(v.NEEDS_RESET)
    assert Reset() in function.set_state(0).items
    assert function.status == 0


@pytest.mark.parametrize("status", [1, 0xB, 0x80])
def test_what_is_the_drivers_to_set_is_refused(status: int) -> None:
    function = make("modern")
    Modern(function).bring_up()
    with pytest.raises(BadSetting, match="is the driver's to set, which is at 0xf"):
        function.set_state(status)


@pytest.mark.parametrize("legacy", [True, False])
def test_who_cannot_be_asked_for_a_reset(legacy: bool) -> None:
    """A legacy driver does not know the bit."""
    function = make()
    if legacy:
        function.write(0, 0x12, b"\x03")
    with pytest.raises(BadSetting, match="there is no driver that could be asked"):
        function.set_state(v.NEEDS_RESET)
