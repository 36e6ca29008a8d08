"""The control virtqueue, command by command (virtio 1.3 §5.1.6.5)."""

import pytest

from softdpu.net.control import LONGEST
from softdpu.net.device import Function
from softdpu.net.filters import TABLE
from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.spec.virtio_pci import NEEDS_RESET
from softdpu.virtio.effects import SetFilter, SetOffloads, SetPairs
from softdpu.virtio.negotiation import sound
from softdpu.virtio.outcome import NOTHING, Effects
from tests.virtio.drivers import MAC, Legacy, Modern, make, of_type

OK, ERR = b"\0", b"\1"
GROUP = bytes.fromhex("01005e000001")
OTHER = bytes.fromhex("525400000001")


@pytest.fixture
def function() -> Function:
    """Two pairs, running, with all features."""
    function = make(queues=5)
    Modern(function).bring_up(queues=5)
    return function


def send(function: Function, *parts: bytes, queue: int = 4, room: int = 1) -> tuple[bytes, Effects]:
    return function.command(queue, b"".join(parts), room)


def table(*addresses: bytes) -> bytes:
    return len(addresses).to_bytes(4, "little") + b"".join(addresses)


def only_filter(effects: Effects) -> SetFilter:
    (filters,) = of_type(effects, SetFilter)
    assert len(effects) == 1
    return filters


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (n.CTRL_RX_PROMISC, "promiscuous"),
        (n.CTRL_RX_ALLMULTI, "all_multicast"),
        (n.CTRL_RX_ALLUNI, "all_unicast"),
        (n.CTRL_RX_NOMULTI, "no_multicast"),
        (n.CTRL_RX_NOUNI, "no_unicast"),
        (n.CTRL_RX_NOBCAST, "no_broadcast"),
    ],
)
@pytest.mark.parametrize("on", [True, False])
def test_receive_modes(function: Function, command: int, name: str, on: bool) -> None:
    """§5.1.6.5.1."""
    answer, effects = send(function, bytes([n.CTRL_RX, command, on]))
    assert answer == OK
    assert getattr(only_filter(effects), name) == on


@pytest.mark.parametrize("data", [b"", b"\2", b"\xff", b"\0\0"])
def test_receive_mode_is_one_byte_zero_or_one(function: Function, data: bytes) -> None:
    assert send(function, bytes([n.CTRL_RX, n.CTRL_RX_PROMISC]), data) == (ERR, NOTHING)


def test_mac_table(function: Function) -> None:
    """§5.1.6.5.2: two tables, unicast and multicast."""
    answer, effects = send(function, bytes([n.CTRL_MAC, n.CTRL_MAC_TABLE_SET]), table(OTHER), table(GROUP))
    assert answer == OK
    assert only_filter(effects).addresses == (MAC, OTHER, GROUP)


def test_mac_table_replaces_the_former_one(function: Function) -> None:
    send(function, bytes([n.CTRL_MAC, n.CTRL_MAC_TABLE_SET]), table(OTHER), table(GROUP))
    _, effects = send(function, bytes([n.CTRL_MAC, n.CTRL_MAC_TABLE_SET]), table(), table())
    assert only_filter(effects).addresses == (MAC,)


def test_more_addresses_than_fit(function: Function) -> None:
    """§5.1.6.5.2, footnote: all of that kind pass instead."""
    many = [bytes([0x01, 0, 0x5E, 0, 0, number]) for number in range(TABLE + 1)]
    answer, effects = send(function, bytes([n.CTRL_MAC, n.CTRL_MAC_TABLE_SET]), table(OTHER), table(*many))
    filters = only_filter(effects)
    assert answer == OK
    assert filters.addresses == (MAC, OTHER)
    assert (filters.all_multicast, filters.all_unicast) == (True, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        table(OTHER),
        table(OTHER) + b"\1\0\0",
        table(OTHER) + b"\2\0\0\0" + GROUP,
        b"\xff\xff\xff\xff" + OTHER,
        table(OTHER) + table(GROUP) + b"\0",
    ],
)
def test_malformed_mac_table(function: Function, data: bytes) -> None:
    before = function.state.net.filter.unicast
    assert send(function, bytes([n.CTRL_MAC, n.CTRL_MAC_TABLE_SET]), data) == (ERR, NOTHING)
    assert function.state.net.filter.unicast == before


def test_address_set(function: Function) -> None:
    """§5.1.6.5.2.1: mac in the configuration is updated before the command is used."""
    answer, effects = send(function, bytes([n.CTRL_MAC, n.CTRL_MAC_ADDR_SET]), OTHER)
    assert answer == OK
    assert only_filter(effects).addresses == (OTHER,)
    assert Modern(function).config(0, 6) == OTHER


@pytest.mark.parametrize("data", [b"", OTHER[:5], OTHER + b"\0", GROUP])
def test_address_that_is_none(function: Function, data: bytes) -> None:
    assert send(function, bytes([n.CTRL_MAC, n.CTRL_MAC_ADDR_SET]), data) == (ERR, NOTHING)
    assert Modern(function).config(0, 6) == MAC


def test_vlans(function: Function) -> None:
    """§5.1.6.5.3."""
    _, effects = send(function, bytes([n.CTRL_VLAN, n.CTRL_VLAN_ADD]), b"\x0a\x00")
    assert only_filter(effects).vlans == b"\0\4" + bytes(510)
    _, effects = send(function, bytes([n.CTRL_VLAN, n.CTRL_VLAN_DEL]), b"\x0a\x00")
    assert only_filter(effects).vlans == bytes(512)


@pytest.mark.parametrize("data", [b"", b"\1", b"\0\x10", b"\xff\xff", b"\1\0\0"])
def test_vlan_that_is_none(function: Function, data: bytes) -> None:
    assert send(function, bytes([n.CTRL_VLAN, n.CTRL_VLAN_ADD]), data) == (ERR, NOTHING)


def test_announcement_is_acknowledged(function: Function) -> None:
    """§5.1.6.5.4.2."""
    function.announce()
    assert Modern(function).config(6, 2) == b"\3\0"
    assert send(function, bytes([n.CTRL_ANNOUNCE, n.CTRL_ANNOUNCE_ACK])) == (OK, NOTHING)
    assert Modern(function).config(6, 2) == b"\1\0"
    assert send(function, bytes([n.CTRL_ANNOUNCE, n.CTRL_ANNOUNCE_ACK]), b"\0") == (ERR, NOTHING)


@pytest.mark.parametrize("pairs", [1, 2])
def test_pairs(function: Function, pairs: int) -> None:
    """§5.1.6.5.6."""
    answer, effects = send(function, bytes([n.CTRL_MQ, n.CTRL_MQ_VQ_PAIRS_SET, pairs, 0]))
    assert (answer, of_type(effects, SetPairs)) == (OK, [SetPairs(pairs)])


@pytest.mark.parametrize("data", [b"\0\0", b"\3\0", b"\0\x80", b"\1", b"\1\0\0"])
def test_pairs_that_are_not_there(function: Function, data: bytes) -> None:
    """§5.1.6.5.6.1: not 0, not above max_virtqueue_pairs."""
    assert send(function, bytes([n.CTRL_MQ, n.CTRL_MQ_VQ_PAIRS_SET]), data) == (ERR, NOTHING)


@pytest.mark.parametrize(
    "head", [b"", b"\0", b"\x07\0", b"\xff\xff", b"\5\1", b"\0\6", b"\1\2", b"\2\2", b"\3\1", b"\4\3"]
)
def test_unknown_commands(function: Function, head: bytes) -> None:
    assert send(function, head, bytes(8)) == (ERR, NOTHING)


def offloads(function: Function, word: int) -> tuple[bytes, Effects]:
    return send(function, bytes([n.CTRL_GUEST_OFFLOADS, n.CTRL_GUEST_OFFLOADS_SET]), word.to_bytes(8, "little"))


@pytest.mark.parametrize("guest", [0, 1 << f.NET_GUEST_CSUM, n.GUEST_OFFLOADS])
def test_offloads_are_set(function: Function, guest: int) -> None:
    """§5.1.6.5.7: what the driver may leave undone in its own frames stays as negotiated."""
    answer, effects = offloads(function, guest)
    assert (answer, effects.items) == (OK, (SetOffloads(guest | n.HOST_OFFLOADS),))


def test_linux_counts_the_length_of_headers_among_offloads(function: Function) -> None:
    answer, effects = offloads(function, f.mask_of(f.NET_GUEST_CSUM, f.NET_GUEST_HDRLEN))
    assert (answer, effects.items) == (OK, (SetOffloads(f.mask_of(f.NET_GUEST_CSUM) | n.HOST_OFFLOADS),))


def test_offload_without_what_it_requires_is_left_out(function: Function) -> None:
    answer, effects = offloads(function, 1 << f.NET_GUEST_TSO4)
    assert (answer, effects.items) == (OK, (SetOffloads(n.HOST_OFFLOADS),))


@pytest.mark.parametrize("word", [1 << f.NET_CSUM, 1 << f.NET_GUEST_UFO, 1 << 63])
def test_offloads_that_are_none(function: Function, word: int) -> None:
    assert offloads(function, word) == (ERR, NOTHING)


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(9)])
def test_offloads_of_another_length(function: Function, data: bytes) -> None:
    assert send(function, bytes([n.CTRL_GUEST_OFFLOADS, 0]), data) == (ERR, NOTHING)


def test_offload_that_was_not_negotiated() -> None:
    function = make(queues=5)
    Modern(function).bring_up(function.device_features & ~f.mask_of(f.NET_GUEST_ECN, f.ANY_LAYOUT), queues=5)
    assert offloads(function, 1 << f.NET_GUEST_ECN) == (ERR, NOTHING)


def test_offloads_survive_a_restart_and_end_with_a_reset(function: Function) -> None:
    offloads(function, 0)
    again = Function.restore(function.state)
    assert of_type(again.start_effects(), SetOffloads) == [SetOffloads(n.HOST_OFFLOADS)]
    assert of_type(again.reset(), SetOffloads) == [SetOffloads(0)]
    assert again.state.net.offloads is None


@pytest.mark.parametrize("driver", [Legacy, Modern])
def test_offloads_follow_what_was_negotiated(driver: type[Legacy] | type[Modern]) -> None:
    function = make(queues=5)
    driver(function).bring_up(queues=5)
    seen = (1 << 32) - 1 if driver is Legacy else (1 << 64) - 1
    both = (n.GUEST_OFFLOADS | n.HOST_OFFLOADS) & seen
    assert of_type(function.start_effects(), SetOffloads) == [SetOffloads(both)]


@pytest.mark.parametrize(("command", "feature"), n.COMMANDS.items())
def test_command_whose_feature_was_not_negotiated(command: tuple[int, int], feature: int) -> None:
    """§5.1.6.5: the driver must not send it."""
    function = make(queues=5)
    without = sound(function.device_features & ~f.mask_of(feature, f.ANY_LAYOUT))
    Modern(function).bring_up(without, queues=5)
    assert send(function, bytes(command), b"\1") == (ERR, NOTHING)


def test_command_of_before_a_reset_is_nobodys(function: Function) -> None:
    """It was on its way as the driver reset the device: the next driver is not to blame for it."""
    function.write(4, 0x14, b"\0")
    Modern(function).write("device_status", 3)
    answer, effects = send(function, b"\0\0\1")
    assert (answer, effects.items) == (b"", ())
    assert not function.faults
    assert not function.status & NEEDS_RESET


@pytest.mark.parametrize(("unicast", "groups"), [(1, 11000), (11000, 0), (11000, 11000)])
def test_tables_longer_than_a_command_are_taken_as_too_many(function: Function, unicast: int, groups: int) -> None:
    """§5.1.6.5.2: the device may take all of a kind; the datapath hands over the beginning of so long a command."""
    command = b"\1\0" + table(*[OTHER] * unicast) + table(*[GROUP] * groups)
    answer, effects = send(function, command[: LONGEST + 1])
    filters = only_filter(effects)
    assert answer == OK
    assert (filters.all_unicast, filters.all_multicast) == (unicast > TABLE, True)


def test_other_commands_are_never_that_long(function: Function) -> None:
    for command in (b"\0\0\1", b"\4\0\1\0", b"\4\1", b"\7\0"):
        assert send(function, command.ljust(LONGEST + 1, b"\0")) == (ERR, NOTHING)


def test_control_queue_has_index_two_without_multiqueue() -> None:
    """§5.1.2: N is 1 unless MQ or RSS is negotiated."""
    function = make(queues=5)
    modern = Modern(function)
    modern.bring_up(f.mask_of(f.VERSION_1, f.NET_CTRL_VQ, f.NET_CTRL_RX), queues=5)
    assert [queue.enabled for queue in function.queues] == [True, True, True, False, False]
    assert send(function, b"\0\0\0", queue=2)[0] == OK


@pytest.mark.parametrize("queue", [0, 1, 5, -1, 70000])
def test_command_on_another_queue_needs_reset(function: Function, queue: int) -> None:
    answer, effects = send(function, b"\0\0\0", queue=queue)
    assert answer == b""
    assert effects.log
    assert function.status & NEEDS_RESET


def test_command_without_room_for_its_answer_needs_reset(function: Function) -> None:
    answer, _ = send(function, b"\0\0\0", room=0)
    assert answer == b""
    assert function.status & NEEDS_RESET
    assert function.state.net.filter.promiscuous


def test_reset_forgets_what_was_commanded(function: Function) -> None:
    """§5.1.6.5.2.1: the table is empty on reset."""
    send(function, bytes([n.CTRL_MAC, n.CTRL_MAC_TABLE_SET]), table(OTHER), table(GROUP))
    send(function, bytes([n.CTRL_MQ, n.CTRL_MQ_VQ_PAIRS_SET, 2, 0]))
    send(function, b"\0\0\0")
    filters = of_type(Modern(function).write("device_status", 0), SetFilter)[0]
    assert (filters.promiscuous, filters.addresses) == (True, (MAC,))
    assert function.state.net == make(queues=5).state.net


def test_legacy_driver_commands_too() -> None:
    function = make()
    Legacy(function).bring_up()
    answer, effects = send(function, b"\0\0\0", queue=2)
    assert answer == OK
    assert not only_filter(effects).promiscuous
