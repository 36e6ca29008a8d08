"""What the operator can set, and the sentence for what cannot be."""

import pytest

from softdpu.net.device import Function
from softdpu.net.mistakes import BadSetting, Mistake, NotImplementedFeature
from tests.virtio.drivers import make


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
