"""Saved states: exact, small, and not trusted."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from softdpu.net.device import Function
from softdpu.net.mistakes import BadState
from softdpu.net.state import FunctionConfig, FunctionState, HashState
from softdpu.net.validation import decode, encode
from softdpu.spec import features as f
from softdpu.virtio.state import QueueState
from tests.virtio.drivers import Legacy, Modern, enable_msix, make


def running() -> Function:
    function = make(queues=5)
    modern = Modern(function)
    modern.bring_up(queues=5)
    modern.write("config_msix_vector", 1)
    enable_msix(function)
    function.write(1, 0, bytes(16))
    function.command(4, b"\2\0\x05\0", 1)
    function.command(4, b"\1\0\1\0\0\0\2\2\2\2\2\2\0\0\0\0", 1)
    function.queue_fault(1, "a loop")
    return function


def legacy() -> Function:
    function = make("legacy")
    Legacy(function).bring_up()
    return function


@pytest.mark.parametrize("make_one", [make, running, legacy])
def test_round_trip_is_exact(make_one: Callable[[], Function]) -> None:
    function = make_one()
    again = Function.restore(decode(encode(function.state)))
    assert again.state == function.state
    assert encode(again.state) == encode(function.state)
    assert again.start_effects() == function.start_effects()
    assert again.read(7, 0, 4096) == function.read(7, 0, 4096)


def test_restored_function_is_apart_from_the_state_given() -> None:
    state = make().state
    again = Function.restore(state)
    Modern(again).bring_up()
    assert state == make().state


def test_fresh_state_is_small() -> None:
    assert len(encode(make(queues=65, vectors=66).state)) < 300


def test_running_state_of_many_queues_fits_a_packet() -> None:
    function = make(queues=65, vectors=66)
    Modern(function).bring_up(queues=65)
    assert len(encode(function.state)) < 8192


Change = Callable[[FunctionState], None]


def assign(target: object, changes: dict[str, object]) -> None:
    for name, value in changes.items():
        setattr(target, name, value)


def config(**changes: object) -> Change:
    return lambda state: setattr(state, "config", msgspec.structs.replace(state.config, **changes))


def virtio(**changes: object) -> Change:
    return lambda state: assign(state.virtio, changes)


def queue(**changes: object) -> Change:
    return lambda state: assign(state.virtio.queues[0], changes)


def net(**changes: object) -> Change:
    return lambda state: assign(state.net, changes)


def filters(**changes: object) -> Change:
    return lambda state: assign(state.net.filter, changes)


def hashes(**changes: object) -> Change:
    return lambda state: assign(state.net.hash, changes)


def coalescing(**changes: object) -> Change:
    return lambda state: assign(state.net.coalescing, changes)


def pci(**changes: object) -> Change:
    return lambda state: assign(state.pci, changes)


WRONG: list[tuple[Change, str]] = [
    (config(mtu=0), "mtu 0 is not between"),
    (config(mac=b"\1"), "mac 01 is not"),
    (config(queues=3), "virtio.driver_features .* VIRTIO_NET_F_MQ, .* which was not offered"),
    (config(layout="legacy"), "virtio.mode is modern"),
    (config(features=1 << 39), "VIRTIO_F_NOTIF_CONFIG_DATA"),
    (virtio(mode=None), "virtio.status 0x4f cannot be while the mode is None"),
    (virtio(mode="legacy"), "virtio.status 0x4f cannot be while the mode is legacy"),
    (virtio(status=4), "virtio.status 0x4"),
    (virtio(status=-1), "virtio.status -0x1"),
    (virtio(status=0x10F), "virtio.status 0x10f"),
    (virtio(driver_features=0), "virtio.driver_features 0x0 cannot have been accepted"),
    (virtio(driver_features=1 << 32), "net.pairs 2 is not between 1 and 1"),
    (virtio(driver_features=1 << 32 | 1 << 22), "without VIRTIO_NET_F_CTRL_VQ"),
    (virtio(driver_features=1 << 64), "virtio.driver_features"),
    (virtio(queue_select=65536), "virtio.queue_select"),
    (virtio(device_feature_select=-1), "virtio.device_feature_select"),
    (virtio(driver_feature_select=1 << 32), "virtio.driver_feature_select"),
    (virtio(generation=256), "virtio.generation"),
    (virtio(config_vector=4), "virtio.config_vector 4 is not a vector of 4"),
    (virtio(queues=()), "virtio.queues has 0 entries"),
    (virtio(faults=("x",) * 9), "virtio.faults"),
    (virtio(faults=("x" * 201,)), "virtio.faults"),
    (queue(size=3), r"virtio.queues\[0\].size 3"),
    (queue(size=512), r"virtio.queues\[0\].size 512"),
    (queue(size=-4), r"virtio.queues\[0\].size -4"),
    (queue(vector=99), r"virtio.queues\[0\].vector 99"),
    (queue(descriptor=1), r"virtio.queues\[0\].enabled cannot be: its descriptor area"),
    (queue(device=1 << 64), r"virtio.queues\[0\].device 18446744073709551616"),
    (queue(driver=-2), r"virtio.queues\[0\].driver -2"),
    (queue(enabled=False, broken=True), r"virtio.queues\[0\].broken cannot be"),
    (net(mac=b"12345"), "net.mac has 5 bytes"),
    (net(pairs=0), "net.pairs 0"),
    (net(pairs=3), "net.pairs 3 is not between 1 and 2"),
    (net(offloads=1), "net.offloads 0x1 has bits"),
    (net(offloads=-2), "net.offloads -0x2 has bits"),
    (hashes(types=1 << 9), "net.hash.types 0x200 has bits"),
    (hashes(types=-1), "net.hash.types -0x1 has bits"),
    (hashes(key=bytes(41)), "net.hash.key has 41 bytes"),
    (hashes(steer=True), "net.hash.table has 0 entries"),
    (hashes(table=(0,)), "net.hash.table has 1 entries"),
    (hashes(steer=True, table=(0, 0, 0)), "net.hash.table has 3 entries"),
    (hashes(steer=True, table=(0,) * 256), "net.hash.table has 256 entries"),
    (hashes(steer=True, table=(2,)), "net.hash names a receive queue beyond 2 pairs"),
    (hashes(unclassified=-1), "net.hash names a receive queue"),
    (coalescing(receive=(1, 1 << 32)), "net.coalescing has"),
    (coalescing(transmit=(-1, 1)), "net.coalescing has"),
    (coalescing(queues={4: (1, 1)}), "net.coalescing.queues names a queue beyond 4"),
    (coalescing(queues={0: (1, -1)}), "net.coalescing has"),
    (filters(unicast=(b"1",)), "net.filter.unicast"),
    (filters(multicast=(bytes(6),) * 65), "net.filter.multicast"),
    (filters(vlans=b"1"), "net.filter.vlans has 1 bytes"),
    (pci(config={2: 0}), r"pci.config\[0x2\]"),
    (pci(config={4096: 0}), r"pci.config\[0x1000\]"),
    (pci(config={4: 1 << 32}), r"pci.config\[0x4\]"),
    (pci(config={0: 0x10411AF5}), r"pci.config\[0x0\] .* changes bits 0x"),
    (pci(table={4: bytes(16)}), r"pci.table\[4\]"),
    (pci(table={0: bytes(15)}), r"pci.table\[0\]"),
    (pci(table={0: b"\xff" * 16}), r"pci.table\[0\]"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_state_that_cannot_be_is_refused_by_field(change: Change, sentence: str) -> None:
    function = running()
    function.command(4, b"\4\0\2\0", 1)
    state = function.state
    change(state)
    with pytest.raises(BadState, match=sentence):
        Function.restore(state)


@pytest.mark.parametrize("feature", [f.NET_RSS, f.NET_HASH_REPORT])
def test_hashing_takes_a_feature(feature: int) -> None:
    function = make(queues=5, features=f.mask_of(f.NET_HASH_REPORT))
    Modern(function).bring_up(f.mask_of(f.VERSION_1, f.NET_CTRL_VQ, f.NET_MQ, feature), queues=5)
    function.state.net.hash = HashState(types=1)
    Function.restore(function.state)
    function.state.net.hash = HashState(steer=True, types=1, table=(1,))
    if feature == f.NET_HASH_REPORT:
        with pytest.raises(BadState, match=r"net\.hash\.steer"):
            Function.restore(function.state)


def test_neutral_state_has_no_features() -> None:
    state = make().state
    state.virtio.driver_features = 1
    with pytest.raises(BadState, match=r"virtio.driver_features .* no driver is there"):
        Function.restore(state)


@pytest.mark.parametrize(
    "change", [queue(driver=2), queue(descriptor=0x1001), queue(size=64), queue(descriptor=1 << 60)]
)
def test_legacy_queue_lies_as_legacy_queues_do(change: Change) -> None:
    state = legacy().state
    change(state)
    with pytest.raises(BadState, match=r"virtio.queues\[0\].enabled cannot be"):
        Function.restore(state)


def test_legacy_driver_has_only_what_was_offered() -> None:
    state = legacy().state
    state.virtio.driver_features |= 1 << 10  # GUEST_UFO
    with pytest.raises(BadState, match=r"virtio.driver_features .* was not offered"):
        Function.restore(state)


def test_queue_is_not_enabled_before_features_ok() -> None:
    state = make().state
    state.virtio.mode = "modern"
    state.virtio.queues[1].enabled = True
    with pytest.raises(BadState, match=r"virtio.queues\[1\].enabled cannot be: FEATURES_OK is not set"):
        Function.restore(state)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (virtio(status="up"), "virtio.status"),
        (virtio(queues=[QueueState(), 7]), r"virtio.queues\[1\]"),
        (config(mtu="1500"), "config.mtu"),
        (config(layout=4), "config.layout"),
        (net(mac=None), "net.mac"),
    ],
)
def test_field_of_a_wrong_type_is_named(change: Change, path: str) -> None:
    state = make().state
    change(state)
    with pytest.raises(BadState, match=path):
        Function.restore(state)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", b"\x00", b"\x91" * 100000, encode(make().state)[:-3]])
def test_bytes_that_are_no_state(data: bytes) -> None:
    with pytest.raises(BadState):
        decode(data)


def test_unencodable_state() -> None:
    state = make().state
    state.net.mac = object()  # type: ignore[assignment]
    with pytest.raises(BadState):
        Function.restore(state)


def test_state_of_a_newer_controller_with_more_fields() -> None:
    """A field that is not known is left out: an older controller can take over a newer one's functions."""
    raw = msgspec.msgpack.decode(encode(make().state))
    raw["virtio"]["something_new"] = 1
    assert Function.restore(decode(msgspec.msgpack.encode(raw))).state == make().state


def test_config_alone_is_enough_to_name() -> None:
    assert FunctionConfig(layout="modern", mac=bytes(6)).queues == 3
