"""The device configuration (virtio 1.3 §5.1.4)."""

import pytest

from softdpu.net.config import patched_mac
from softdpu.net.device import Function
from softdpu.spec import features as f
from softdpu.spec.virtio_net import CONFIG, CONFIG_BYTES
from tests.virtio.drivers import MAC, Modern, make


def field(function: Function, name: str) -> int:
    register = CONFIG.named[name]
    return int.from_bytes(Modern(function).config(register.offset, register.size), "little")


def test_address() -> None:
    assert Modern(make()).config(0, 6) == MAC


def test_link_is_bit_zero_of_status() -> None:
    assert field(make(), "status") == 1
    assert field(make(link_up=False), "status") == 0


@pytest.mark.parametrize(("queues", "pairs"), [(2, 1), (3, 1), (5, 2), (65, 32)])
def test_max_virtqueue_pairs(queues: int, pairs: int) -> None:
    """§5.1.4.1: between 1 and 0x8000."""
    assert field(make(queues=queues), "max_virtqueue_pairs") == pairs


def test_mtu() -> None:
    assert field(make(mtu=9000), "mtu") == 9000


@pytest.mark.parametrize(("speed", "duplex"), [(25000, 1), (0xFFFFFFFF, 0xFF)])
def test_speed_and_duplex(speed: int, duplex: int) -> None:
    """Full duplex is 1, as in ethtool; unknown is 0xff."""
    function = make(speed=speed)
    assert (field(function, "speed"), field(function, "duplex")) == (speed, duplex)


@pytest.mark.parametrize(("queues", "expected"), [(2, (0, 0, 0)), (3, (40, 0, 0x1FF)), (5, (40, 128, 0x1FF))])
def test_hashing(queues: int, expected: tuple[int, int, int]) -> None:
    """§5.1.4.1: at least 40 and 128, where the features are offered that the fields exist with."""
    function = make(queues=queues, features=1 << f.NET_HASH_REPORT)
    names = ("rss_max_key_size", "rss_max_indirection_table_length", "supported_hash_types")
    assert tuple(field(function, name) for name in names) == expected


def test_past_the_end_are_zeros() -> None:
    assert Modern(make()).config(CONFIG_BYTES, 64) == bytes(64)
    assert len(Modern(make()).config(0, CONFIG_BYTES)) == CONFIG_BYTES


@pytest.mark.parametrize(
    ("offset", "data", "mac"),
    [
        (0, "112233445566", "112233445566"),
        (2, "aa", "0cc4aaff2293"),
        (4, "aabbccdd", "0cc47affaabb"),
        (6, "aa", MAC.hex()),
    ],
)
def test_address_is_patched_where_it_is_written(offset: int, data: str, mac: str) -> None:
    assert patched_mac(MAC, offset, bytes.fromhex(data)) == bytes.fromhex(mac)
