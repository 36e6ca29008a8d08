"""Saved states: a function goes on elsewhere exactly where it stood, and what is none is refused by name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softdpu.net.device import Function
from softdpu.net.mistakes import BadState
from softdpu.net.saved import FORMAT, VERSION, SavedFunction, decode, encode, saved
from softdpu.net.validation import encode as encode_state
from softdpu.pci.sriov import Sriov
from softdpu.spec import features as f
from softdpu.virtio.effects import Freeze, RaiseConfig, Reset, SetFilter, SetInterrupts, SetPending, StartQueue
from softdpu.virtio.standing import QueueStanding, Standing
from tests.net.test_hostile import again_behaves_the_same, calls, check_effects, paths, perform, replacements
from tests.virtio.drivers import Legacy, Modern, enable_msix, make, of_type

PACKED = f.mask_of(f.RING_PACKED)
WRAPPED = 1 << 15
STANDING = Standing((QueueStanding(0, 700), QueueStanding(1, 65535), QueueStanding(2, 3, b"\0")), isr=1, pending=(1, 3))


def running(layout: str = "transitional", **changes: Any) -> Function:
    function = make("transitional", queues=3, **changes)
    driver = Legacy(function) if layout == "legacy" else Modern(function)
    enable_msix(function)
    driver.bring_up()
    function.command(2, b"\0\1\1", 1)
    return function


def taken(function: Function, standing: Standing = STANDING) -> bytes:
    """The saved state of a function, which goes on."""
    function.stop(True)
    data = encode(saved(function.state, standing))
    function.stop(False)
    return data


def put(function: Function, data: bytes) -> None:
    function.stop(True)
    function.put(decode(data))


@pytest.mark.parametrize("layout", ["legacy", "modern"])
def test_a_function_goes_on_where_the_saved_one_stood(layout: str) -> None:
    source, target = running(layout), make("transitional", mac=bytes.fromhex("0200000000aa"))
    put(target, taken(source))
    gone_on = target.stop(False)
    expected = [msgspec.structs.replace(start, position=0, answer=None) for start in of_type(gone_on, StartQueue)]
    assert expected == of_type(source.start_effects(), StartQueue)
    assert [start.position for start in of_type(gone_on, StartQueue)] == [700, 65535, 3]
    assert [start.answer for start in of_type(gone_on, StartQueue)] == [None, None, b"\0"]
    for kind in (SetFilter, SetInterrupts):
        assert of_type(gone_on, kind) == of_type(source.start_effects(), kind)
    assert all(target.read(region, 0, 64) == source.read(region, 0, 64) for region in (0, 1, 4))


def test_queues_start_before_it_goes_on_and_interrupts_that_waited_come_after() -> None:
    target = make()
    put(target, taken(running()))
    kinds = [type(effect) for effect in target.stop(False)]
    assert kinds[-2:] == [Freeze, SetPending]
    assert kinds.index(StartQueue) < kinds.index(Freeze)


def test_the_datapath_forgets_the_queues_that_were_there_before() -> None:
    target = running()
    target.stop(True)
    assert list(target.put(decode(taken(running())))) == [Reset()]


def test_packed_rings_go_on_with_their_wrap_counter() -> None:
    source, target = running(features=PACKED), make(features=PACKED)
    put(target, taken(source, Standing((QueueStanding(0, 255), QueueStanding(1, 7 | WRAPPED)))))
    positions = {start.queue: start.position for start in of_type(target.stop(False), StartQueue)}
    assert positions == {0: 255, 1: 7 | WRAPPED, 2: WRAPPED}  # what is not named was just begun


def test_it_may_be_stored_again_before_it_goes_on() -> None:
    source, target = running(), make()
    put(target, taken(source))
    again = Function.restore(target.state)
    assert encode(saved(again.state, Standing())) == taken(source)
    assert again.stop(False) == target.stop(False)
    assert again.state.virtio.standing is None


def test_a_queue_that_its_driver_gives_anew_begins_anew() -> None:
    target = make()
    put(target, taken(running()))
    modern = Modern(target)
    modern.write("queue_select", 1)
    modern.write("queue_reset", 1)
    modern.set_up(1)
    positions = {start.queue: start.position for start in of_type(target.stop(False), StartQueue)}
    assert positions == {0: 700, 1: 0, 2: 3}


def test_a_reset_before_it_goes_on_leaves_nothing_of_the_saved_state() -> None:
    target = make()
    put(target, taken(running()))
    target.reset()
    assert encode_state(target.state) == encode_state(make().state)


def test_queues_taken_away_meanwhile_stand_nowhere() -> None:
    source = running()
    Modern(source).write("queue_select", 1)
    Modern(source).write("queue_reset", 1)
    standing = decode(taken(source)).state.virtio.standing
    assert standing and [queue.queue for queue in standing.queues] == [0, 2]


def test_a_driver_is_told_of_another_speed_or_link() -> None:
    same, faster = make(), make(speed=100_000)
    for target in (same, faster):
        put(target, taken(running()))
    assert not of_type(same.stop(False), RaiseConfig)
    assert of_type(faster.stop(False), RaiseConfig)


def test_a_mac_address_that_the_driver_was_shown_holds_until_its_reset() -> None:
    target = make(mac=bytes.fromhex("0200000000aa"))
    put(target, taken(running()))
    assert target.state.net.mac == make().state.net.mac
    target.reset()
    assert target.state.net.mac == bytes.fromhex("0200000000aa")


# ---- refusals


def refused(data: bytes, target: Function | None = None) -> str:
    """Why; the device is as it was."""
    target = target or make()
    target.stop(True)
    before = encode_state(target.state)
    with pytest.raises(BadState) as why:
        target.put(decode(data))
    assert encode_state(target.state) == before
    return str(why.value)


def changed(**changes: object) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.decode(taken(running())) | changes)


def test_one_that_is_cut_off_is_refused_and_says_so() -> None:
    data = taken(running())
    for length in range(len(data)):
        assert f"cut off after {length} bytes" in refused(data[:length])


def test_one_of_a_newer_version_is_refused_before_anything_else_of_it_is_looked_at() -> None:
    newer = msgspec.msgpack.encode({"format": FORMAT, "version": VERSION + 1, "state": "different"})
    assert refused(newer) == (
        f"saved state: version {VERSION + 1} is newer than the {VERSION} that this program reads: update it"
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (changed(version=0), "there is no version 0"),
        (changed(format="qcow"), "its format is 'qcow'"),
        (changed(state=7), "$.state"),
        (b"# a text file\n", "saved state: "),
        (taken(running()) + b"\0", "trailing"),
        (bytes(1 << 21), "none has more than"),
    ],
)
def test_what_is_no_saved_state_is_refused(data: bytes, why: str) -> None:
    assert why in refused(data)


@pytest.mark.parametrize(
    ("standing", "field"),
    [
        (Standing((QueueStanding(3, 0),)), "queues[0].queue"),
        (Standing((QueueStanding(0, 1), QueueStanding(0, 1))), "queues"),
        (Standing((QueueStanding(1, 65536),)), "queues[0].position"),
        (Standing((QueueStanding(1, -1),)), "queues[0].position"),
        (Standing((QueueStanding(2, 1, bytes(1 << 17)),)), "queues[0].answer"),
        (Standing(isr=4), "isr"),
        (Standing(pending=(4,)), "pending"),
        (Standing(pending=(1, 1)), "pending"),
    ],
)
def test_a_standing_that_cannot_be_is_refused_by_its_field(standing: Standing, field: str) -> None:
    function = decode(taken(running()))
    function.state.virtio.standing = standing
    assert f"virtio.standing.{field} " in refused(encode(function))


def test_a_packed_ring_has_no_place_beyond_its_end() -> None:
    function = decode(taken(running(features=PACKED), Standing((QueueStanding(1, 255 | WRAPPED),))))
    function.state.virtio.standing = Standing((QueueStanding(1, 256),))
    assert "virtio.standing.queues[0].position 0x100" in refused(encode(function), make(features=PACKED))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"queues": 5}, "queues"),
        ({"queue_size": 512}, "queue_size"),
        ({"vectors": 8}, "vectors"),
        ({"mtu": 9000}, "mtu"),
        ({"features": PACKED}, "features"),
        ({"mrg_rxbuf": False}, "features"),
        ({"virtual": True}, "virtual"),
        ({"sriov": Sriov(total=4, offset=1)}, "features"),
    ],
)
def test_a_device_of_another_shape_is_refused_by_what_differs(changes: dict[str, Any], field: str) -> None:
    assert f"{field} " in refused(taken(running()), make(**changes))


def test_a_device_of_another_layout_is_refused() -> None:
    assert "config.layout is transitional, and modern in" in refused(taken(running()), make("modern"))


def test_a_pf_whose_vfs_are_enabled_is_refused() -> None:
    sriov = {"sriov": Sriov(total=4, offset=1)}
    source = make("modern", **sriov)
    source.enable_vfs(3)
    assert "pci.config has 3 VFs enabled" in refused(taken(source, Standing()), make("modern", **sriov))


@pytest.mark.parametrize(
    "path", [(), ("state",), ("state", "virtio"), ("state", "virtio", "queues", 1), ("state", "config")]
)
def test_a_field_of_a_newer_program_is_refused_by_its_name(path: tuple[str | int, ...]) -> None:
    raw = msgspec.msgpack.decode(taken(running()))
    place = raw
    for key in path:
        place = place[key]
    place["more"] = 1
    named = "state.virtio.queues[1].more" if 1 in path else ".".join(map(str, (*path, "more")))
    assert refused(msgspec.msgpack.encode(raw)) == f"saved state: {named} is not known to this program: update it"


EXAMPLES = settings(max_examples=150, deadline=None)


@EXAMPLES
@given(st.binary(max_size=300))
def test_bytes_are_a_saved_state_or_refused(content: bytes) -> None:
    refused(content)


@EXAMPLES
@given(st.data())
def test_bytes_of_a_saved_state_changed_anywhere_are_refused_or_harmless(draw: st.DataObject) -> None:
    data = bytearray(taken(running()))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    refused_or_harmless(bytes(data))


@EXAMPLES
@given(st.data())
def test_values_of_a_saved_state_changed_anywhere_are_refused_or_harmless(draw: st.DataObject) -> None:
    raw = msgspec.msgpack.decode(taken(running()), strict=False)
    place = draw.draw(st.sampled_from(paths(raw)[1:]))
    target = raw
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = draw.draw(replacements)
    refused_or_harmless(msgspec.msgpack.encode(raw))


def refused_or_harmless(data: bytes) -> None:
    target = make()
    target.stop(True)
    before = encode_state(target.state)
    try:
        target.put(decode(data))
    except BadState:
        assert encode_state(target.state) == before
        return
    check_effects(target, target.stop(False))
    assert again_behaves_the_same(target)
    perform(target, ("reset",))


@EXAMPLES
@given(calls, calls)
def test_whatever_drivers_do_before_and_after_a_move_the_state_is_one(before: list[Any], after: list[Any]) -> None:
    source, target = make(queues=5), make(queues=5)
    for call in before:
        perform(source, call)
    source.stop(True)
    queues = tuple(QueueStanding(index, index) for index, queue in enumerate(source.queues) if queue.enabled)
    put(target, encode(saved(source.state, Standing(queues))))
    for call in after:
        perform(target, call)
        assert isinstance(decode(encode(saved(target.state, Standing()))), SavedFunction)
        Function.restore(target.state)
    check_effects(target, target.stop(False))
