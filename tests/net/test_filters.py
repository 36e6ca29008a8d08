"""Receive filters as the effect that sets them (virtio 1.3 §5.1.6.5.1-3)."""

from softdpu.net.filters import TABLE, addresses, set_filter, with_vlan
from softdpu.net.state import FilterState
from tests.virtio.drivers import MAC


def test_everything_passes_after_reset() -> None:
    """As in QEMU: until the driver has said which frames it wants."""
    filters = set_filter(FilterState(), MAC, vlan_filtering=False)
    assert filters.promiscuous
    assert filters.addresses == (MAC,)
    assert filters.vlans is None


def test_own_address_comes_first() -> None:
    state = FilterState(unicast=(b"\2" * 6,), multicast=(b"\1\0\x5e\0\0\1",))
    assert set_filter(state, MAC, False).addresses == (MAC, b"\2" * 6, b"\1\0\x5e\0\0\1")


def test_too_many_addresses_let_all_of_their_kind_pass() -> None:
    """§5.1.6.5.2, footnote."""
    assert addresses(bytes(6) * (TABLE + 1)) is None
    filters = set_filter(FilterState(multicast_overflow=True), MAC, False)
    assert (filters.all_multicast, filters.all_unicast) == (True, False)


def test_vlan_filter_starts_empty_where_it_is_negotiated() -> None:
    """§5.1.6.5.3."""
    assert set_filter(FilterState(), MAC, vlan_filtering=True).vlans == bytes(512)


def test_vlans_are_bits() -> None:
    table = with_vlan(with_vlan(b"", 0, True), 4095, True)
    assert (table[0], table[511]) == (0x01, 0x80)
    assert with_vlan(with_vlan(table, 0, False), 4095, False) == b""
    assert with_vlan(b"", 5, False) == b""
