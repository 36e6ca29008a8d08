"""A function that its VMM moves: what each state does, and what a stream is refused for."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softdpu.net.device import Function
from softdpu.net.migration import FINAL, LONGEST, PREVIEW, RECORD, Migration
from softdpu.net.mistakes import BadState
from softdpu.net.validation import decode, encode
from softdpu.spec import features as f
from softdpu.spec import virtio_pci as v
from softdpu.spec.vfio import SAVING, State
from softdpu.virtio.effects import Announce, Freeze, RaiseConfig, SetPending, StartQueue
from softdpu.virtio.migration import NoWay
from softdpu.virtio.standing import QueueStanding, Standing
from tests.virtio.drivers import Legacy, Modern, enable_msix, make, of_type

S = State
QUIET = (S.RUNNING_P2P, S.STOP, S.RESUMING, S.PRE_COPY_P2P)
STANDING = Standing((QueueStanding(0, 700), QueueStanding(1, 65535), QueueStanding(2, 3, b"\0")), isr=1, pending=(1,))


def running(layout: str = "modern") -> Function:
    function = make()
    enable_msix(function)
    (Legacy(function) if layout == "legacy" else Modern(function)).bring_up()
    return function


def stream(function: Function, standing: Standing = STANDING, preview: bool = True) -> bytes:
    """All that can be read of a function that is taken away."""
    migration = Migration(function)
    if preview:
        migration.go(S.PRE_COPY)
    migration.go(S.STOP_COPY)
    migration.copy(standing)
    return migration.read(1 << 20)


def records(data: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    while data:
        kind, length = RECORD.unpack_from(data)
        found.append((kind, data[RECORD.size : RECORD.size + length]))
        data = data[RECORD.size + length :]
    return found


def resuming(function: Function, data: bytes = b"") -> Migration:
    migration = Migration(function)
    migration.go(S.RESUMING)
    migration.write(data)
    return migration


# ---- states


@pytest.mark.parametrize("state", QUIET, ids=lambda state: state.name)
def test_a_device_that_is_not_to_run_is_frozen_and_goes_on_when_it_is(state: State) -> None:
    function = running()
    assert of_type(Migration(function).go(state), Freeze) == [Freeze(True)]
    assert of_type(function.start_effects(), Freeze) == [Freeze(True)], "in a new datapath too"
    assert of_type(Migration(function).go(S.RUNNING), Freeze) == [Freeze(False)]
    assert not of_type(function.start_effects(), Freeze)


def test_before_it_is_copied_the_device_runs() -> None:
    assert not Migration(running()).go(S.PRE_COPY)


def test_a_driver_that_could_not_be_told_is_told_when_the_device_goes_on() -> None:
    function = running()
    Migration(function).go(S.STOP)
    assert not of_type(function.set_link(False), RaiseConfig)
    assert of_type(Migration(function).go(S.RUNNING), RaiseConfig)


def test_a_device_in_any_state_answers_its_driver() -> None:
    function = running()
    Migration(function).go(S.STOP)
    assert Modern(function).read("device_status") & v.DRIVER_OK
    Modern(function).write("device_status", 0)
    assert Migration(function).now == S.STOP
    assert of_type(function.start_effects(), Freeze) == [Freeze(True)]


@pytest.mark.parametrize("state", QUIET, ids=lambda state: state.name)
def test_a_reset_of_the_function_leads_back_to_running(state: State) -> None:
    function = running()
    Migration(function).go(state)
    assert of_type(function.reset(), Freeze) == [Freeze(False)]
    assert Migration(function).now == S.RUNNING
    assert encode(function.state) == encode(make().state)


def test_owner_and_vmm_hold_a_device_together() -> None:
    function = running()
    function.stop(True)
    Migration(function).go(S.STOP)
    assert not Migration(function).go(S.RUNNING)
    Migration(function).go(S.STOP)
    assert not function.stop(False)
    assert of_type(Migration(function).go(S.RUNNING), Freeze) == [Freeze(False)]


@pytest.mark.parametrize("state", [*QUIET, S.PRE_COPY], ids=lambda state: state.name)
def test_the_next_controller_finds_the_device_in_its_state(state: State) -> None:
    function = running()
    Migration(function).go(state)
    again = Function.restore(decode(encode(function.state)))
    assert Migration(again).now == state
    assert again.state == function.state


# ---- reading


def test_first_comes_what_is_known_and_at_the_end_everything() -> None:
    assert [kind for kind, _ in records(stream(running()))] == [PREVIEW, FINAL]
    assert [kind for kind, _ in records(stream(running(), preview=False))] == [FINAL]


def test_the_stream_is_read_in_pieces_and_has_an_end_for_now_and_one_for_good() -> None:
    function = running()
    migration = Migration(function)
    migration.go(S.PRE_COPY)
    parts = [migration.read(100)]
    while len(parts[-1]) == 100:
        parts.append(migration.read(100))
    assert migration.read(100) == b""
    migration.go(S.STOP_COPY)
    assert migration.read(1) == b"", "it is not known yet where the rings stand"
    migration.copy(STANDING)
    assert b"".join(parts) + migration.read(1 << 20) == stream(running())
    assert migration.read(1) == b""


def test_a_session_that_was_left_is_begun_anew() -> None:
    function = running()
    first = stream(function)
    Migration(function).go(S.RUNNING)
    assert stream(function) == first


@pytest.mark.parametrize("state", set(S) - SAVING - {S.ERROR, S.RESUMING}, ids=lambda state: state.name)
def test_nothing_is_read_or_written_elsewhere(state: State) -> None:
    migration = Migration(running())
    migration.go(state)
    for access in (lambda: migration.read(1), lambda: migration.write(b"")):
        with pytest.raises(NoWay, match=f"in {state.name}"):
            access()


def test_how_much_there_will_be_is_about_right() -> None:
    function = running()
    promised = Migration(function).data_size()
    ((_, content),) = records(stream(function, preview=False))
    assert len(content) < promised < 2 * len(content)


def test_what_is_asked_too_late_is_refused() -> None:
    """The function was reset before its datapath told where it stands."""
    function = running()
    migration = Migration(function)
    migration.go(S.STOP_COPY)
    assert migration.wants_standing(S.STOP_COPY)
    function.reset()
    with pytest.raises(NoWay, match="in RUNNING by now"):
        migration.copy(STANDING)


# ---- writing


@pytest.mark.parametrize("layout", ["legacy", "modern"])
@pytest.mark.parametrize("preview", [True, False])
def test_a_function_goes_on_where_it_stood(layout: str, preview: bool) -> None:
    source, target = running(layout), make(mac=bytes.fromhex("0200000000aa"))
    migration = resuming(target, stream(source, preview=preview))
    migration.go(S.STOP)
    assert all(target.read(region, 0, 64) == source.read(region, 0, 64) for region in (0, 4))
    going_on = migration.go(S.RUNNING)
    starts = of_type(going_on, StartQueue)
    assert [(start.queue, start.position, start.answer) for start in starts] == [
        (0, 700, None),
        (1, 65535, None),
        (2, 3, b"\0"),
    ]
    assert of_type(going_on, SetPending) == [SetPending(1, (1,))]
    assert of_type(going_on, Announce) == [Announce(source.state.config.mac)]
    assert not of_type(Migration(target).go(S.STOP) + Migration(target).go(S.RUNNING), Announce), "once is enough"


def test_a_driver_that_can_announces_itself_too() -> None:
    source, target = make(), make()
    driver = Modern(source)
    driver.bring_up(driver.offered() & f.mask_of(f.VERSION_1, f.NET_GUEST_ANNOUNCE, f.NET_CTRL_VQ, f.NET_STATUS))
    going_on = resuming(target, stream(source, Standing())).go(S.RUNNING)
    assert of_type(going_on, Announce)
    assert of_type(going_on, RaiseConfig)
    assert target.state.net.announce


def test_one_without_a_driver_has_nothing_to_announce() -> None:
    assert not of_type(resuming(make(), stream(make(), Standing())).go(S.RUNNING), Announce)


def test_a_stream_may_be_cut_anywhere_on_its_way() -> None:
    data, target = stream(running()), make()
    migration = resuming(target)
    for start in range(0, len(data), 7):
        migration.write(data[start : start + 7])
    assert len(of_type(migration.go(S.RUNNING), StartQueue)) == 3


def test_a_function_that_has_not_run_yet_can_move_on() -> None:
    first, second = make(), make()
    resuming(first, stream(running()))
    third = stream(first, Standing(), preview=False)
    assert len(of_type(resuming(second, third).go(S.RUNNING), StartQueue)) == 3


def test_nothing_written_changes_nothing() -> None:
    function = running()
    before = encode(function.state)
    resuming(function).go(S.RUNNING)
    assert encode(function.state) == before


# ---- what is refused


def refused(function: Function, data: bytes) -> str:
    """The reason; the function is what it was."""
    before = encode(function.state)
    with pytest.raises(BadState) as reason:
        resuming(function, data).go(S.STOP)
    assert Migration(function).now == S.RESUMING
    function.state.migration = make().state.migration
    function.state.virtio.quiesced = False
    assert encode(function.state) == before
    return str(reason.value)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_stream_that_is_cut_off(share: float) -> None:
    data = stream(running(), preview=False)
    assert "cut off" in refused(running(), data[: max(1, int(share * len(data)))])


def test_a_stream_that_ends_with_its_preview() -> None:
    data = stream(running())
    (_, preview), _ = records(data)
    function = running()
    migration = resuming(function, data[: RECORD.size + len(preview)])
    migration.write(data[RECORD.size + len(preview) :][:1])
    with pytest.raises(BadState, match="cut off"):
        migration.go(S.STOP)


def test_a_preview_alone_is_not_a_device() -> None:
    data = stream(running())
    (_, preview), _ = records(data)
    assert "cut off" in refused(running(), data[: RECORD.size + len(preview)])


def test_what_follows_the_end() -> None:
    assert "goes on" in refused(running(), stream(running()) + b"\0")


def test_what_is_no_record() -> None:
    assert "b'NEXT'" in refused(running(), b"NEXT")
    assert "b'LOST'" in refused(running(), b"LOST\0\0\0\0")
    assert f"is more than {LONGEST}" in refused(running(), RECORD.pack(FINAL, LONGEST + 1))


def changed(data: bytes, path: str, value: object) -> bytes:
    """A stream in which a field of the last record has another value."""
    *first, (kind, content) = records(data)
    plain = msgspec.msgpack.decode(content)
    place = plain
    *parents, last = path.split(".")
    for name in parents:
        place = place[name]
    place[last] = value
    again = msgspec.msgpack.encode(plain)
    return b"".join(RECORD.pack(kind, len(content)) + content for kind, content in [*first, (kind, again)])


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("version", 2, "version 2 is newer"),
        ("format", "another device", "format is 'another device'"),
        ("state.config.queues", 5, "queues"),
        ("state.virtio.status", 4, "virtio.status"),
        ("state.virtio.status", "15", "state.virtio.status"),
        ("state.net.mac", b"\0", "net.mac"),
        ("state.virtio.standing", None, "virtio.standing"),
        ("state.virtio.standing", {"queues": [{"queue": 9, "position": 0}]}, "virtio.standing.queues"),
    ],
)
def test_a_field_that_cannot_be_is_named(path: str, value: object, named: str) -> None:
    assert named in refused(running(), changed(stream(running(), preview=False), path, value))


def test_a_place_of_another_shape_is_refused_by_the_preview() -> None:
    migration = Migration(running())
    migration.go(S.PRE_COPY)
    preview = migration.read(1 << 20)
    for target, named in ((make(queues=5), "config.queues"), (make(queue_size=512), "config.queue_size")):
        with pytest.raises(BadState, match=named):
            resuming(target).write(preview)
        assert Migration(target).now == S.RESUMING


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_stream_with_other_bytes_is_taken_whole_or_refused(data: st.DataObject) -> None:
    good = bytearray(stream(running()))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    target = make()
    before = encode(target.state)
    try:
        effects = resuming(target, bytes(good)).go(S.STOP) + Migration(target).go(S.RUNNING)
    except BadState:
        target.state.virtio.quiesced = False
        target.state.migration = make().state.migration
        assert encode(target.state) == before
    else:
        assert Function.restore(decode(encode(target.state))).state == target.state
        assert len(of_type(effects, StartQueue)) <= 3
