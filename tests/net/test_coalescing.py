"""How long interrupts are held back, as commanded (virtio 1.3 §5.1.6.5.9)."""

import struct

import pytest

from softdpu.net.device import Function
from softdpu.net.mistakes import BadSetting
from softdpu.spec import features as f
from softdpu.spec import virtio_net as n
from softdpu.virtio.effects import SetCoalescing
from softdpu.virtio.outcome import NOTHING, Effects
from tests.virtio.drivers import Modern, make, of_type

TX, RX, ONE, GET = n.CTRL_NOTF_COAL_TX_SET, n.CTRL_NOTF_COAL_RX_SET, n.CTRL_NOTF_COAL_VQ_SET, n.CTRL_NOTF_COAL_VQ_GET


@pytest.fixture
def function() -> Function:
    """Two pairs, running, with all features."""
    function = make(queues=5)
    Modern(function).bring_up(queues=5)
    return function


def send(function: Function, command: int, *numbers: int, room: int = 9) -> tuple[bytes, Effects]:
    layout = {1: "<HH", 2: "<II", 3: "<HxxII"}[len(numbers)]
    values = (*numbers, 0xABCD) if len(numbers) == 1 else numbers
    return function.command(4, bytes([n.CTRL_NOTF_COAL, command]) + struct.pack(layout, *values), room)


def got(function: Function, queue: int) -> tuple[int, ...]:
    answer, effects = send(function, GET, queue)
    assert (answer[:1], effects) == (n.OK, NOTHING)
    return n.COAL.unpack(answer[1:])


def test_sequence_of_the_specification(function: Function) -> None:
    """§5.1.6.5.9: each queue goes by the last command about it, whichever that was."""
    assert send(function, RX, 15, 10)[1].items == (SetCoalescing(0, 15, 10), SetCoalescing(2, 15, 10))
    assert send(function, ONE, 0, 7, 70)[1].items == (SetCoalescing(0, 7, 70),)
    assert [got(function, queue) for queue in range(4)] == [(7, 70), (0, 0), (15, 10), (0, 0)]
    send(function, ONE, 1, 1, 2)
    assert send(function, TX, 3, 4)[1].items == (SetCoalescing(1, 3, 4), SetCoalescing(3, 3, 4))
    assert [got(function, queue) for queue in range(4)] == [(7, 70), (3, 4), (15, 10), (3, 4)]


def test_queue_that_is_enabled_anew_goes_by_its_kind(function: Function) -> None:
    """§5.1.6.5.9.5."""
    send(function, RX, 15, 10)
    send(function, ONE, 0, 7, 70)
    modern = Modern(function)
    modern.write("queue_select", 0)
    assert of_type(modern.write("queue_reset", 1), SetCoalescing) == [SetCoalescing(0, 15, 10)]
    assert send(function, GET, 0)[0] == n.ERR
    modern.set_up(0)
    assert got(function, 0) == (15, 10)


@pytest.mark.parametrize("queue", [4, 5, 65535])
def test_queue_that_moves_no_frames(function: Function, queue: int) -> None:
    assert send(function, ONE, queue, 1, 1) == (n.ERR, NOTHING)
    assert send(function, GET, queue) == (n.ERR, NOTHING)


@pytest.mark.parametrize("command", [TX, RX, ONE, GET])
@pytest.mark.parametrize("size", [0, 1, 3, 9, 11, 13])
def test_command_of_another_length(function: Function, command: int, size: int) -> None:
    if command != GET or size < 4:
        answer = function.command(4, bytes([n.CTRL_NOTF_COAL, command]) + bytes(size), 9)
        assert answer == (n.ERR, NOTHING)


def test_answer_is_cut_to_its_room(function: Function) -> None:
    assert send(function, GET, 0, room=3)[0] == bytes(3)


@pytest.mark.parametrize(("without", "commands"), [(f.NET_NOTF_COAL, (TX, RX)), (f.NET_VQ_NOTF_COAL, (ONE, GET))])
def test_command_of_a_feature_that_was_not_negotiated(without: int, commands: tuple[int, ...]) -> None:
    function = make(queues=5)
    modern = Modern(function)
    modern.bring_up(modern.offered() & ~(1 << without), queues=5)
    for command in commands:
        assert function.command(4, bytes([n.CTRL_NOTF_COAL, command]) + bytes(12), 9)[0] == n.ERR


def test_settings_survive_a_restart_and_end_with_a_reset(function: Function) -> None:
    send(function, TX, 3, 4)
    send(function, ONE, 0, 7, 70)
    again = Function.restore(function.state)
    settings = [SetCoalescing(0, 7, 70), SetCoalescing(1, 3, 4), SetCoalescing(3, 3, 4)]
    assert of_type(again.start_effects(), SetCoalescing) == settings
    again.reset()
    assert of_type(again.start_effects(), SetCoalescing) == []


# ---- what the operator has beside it


def numbers(function: Function, queue: int) -> tuple[int, int, str | None]:
    setting = function.coalescing(queue)
    return setting.packets, setting.microseconds, setting.pace


def test_the_operators_setting_is_every_queues(function: Function) -> None:
    effects = function.set_moderation(packets=8, microseconds=50, mode="cqe")
    assert effects.items == tuple(SetCoalescing(queue, 8, 50, "cqe") for queue in range(4))
    assert [got(function, queue) for queue in (0, 3)] == [(8, 50), (8, 50)]


def test_the_last_word_holds_whoever_said_it(function: Function) -> None:
    function.set_moderation(packets=8, microseconds=50)
    send(function, RX, 15, 10)
    send(function, ONE, 1, 7, 70)
    assert [numbers(function, queue) for queue in range(4)] == [
        (15, 10, None),
        (7, 70, None),
        (15, 10, None),
        (8, 50, "event"),
    ]
    function.set_moderation(microseconds=60)
    assert {numbers(function, queue) for queue in range(4)} == {(8, 60, "event")}


def test_a_driver_may_want_none_held_back_after_the_operator_did(function: Function) -> None:
    function.set_moderation(packets=8, microseconds=50)
    assert send(function, RX, 0, 0)[1].items == (SetCoalescing(0, 0, 0), SetCoalescing(2, 0, 0))


def test_a_reset_forgets_the_drivers_words_only(function: Function) -> None:
    function.set_moderation(packets=8, microseconds=50)
    send(function, TX, 3, 4)
    settings = of_type(function.reset(), SetCoalescing)
    assert settings == [SetCoalescing(queue, 8, 50, "event") for queue in range(4)]
    assert of_type(Function.restore(function.state).start_effects(), SetCoalescing) == settings


def test_a_queue_enabled_anew_goes_by_the_operators_setting(function: Function) -> None:
    function.set_moderation(packets=8, microseconds=50)
    send(function, ONE, 0, 7, 70)
    modern = Modern(function)
    modern.write("queue_select", 0)
    assert of_type(modern.write("queue_reset", 1), SetCoalescing) == [SetCoalescing(0, 8, 50, "event")]


def test_dynamic_moderation_leaves_the_numbers_for_when_it_ends(function: Function) -> None:
    function.set_moderation(packets=8, microseconds=50)
    assert function.set_moderation(dynamic=True).items[0] == SetCoalescing(0, 0, 0, "adaptive")
    assert function.set_moderation(dynamic=False).items[0] == SetCoalescing(0, 8, 50, "event")


def test_numbers_with_a_zero_hold_nothing_back_and_are_not_set_anew(function: Function) -> None:
    function.set_moderation(packets=0, microseconds=50)
    assert of_type(function.start_effects(), SetCoalescing) == []
    assert numbers(function, 0) == (0, 50, "event")


@pytest.mark.parametrize(
    "change", [{"packets": 65536}, {"microseconds": 1_000_001}, {"packets": -1}, {"mode": "never"}]
)
def test_settings_that_cannot_be_change_nothing(function: Function, change: dict[str, int | str]) -> None:
    before = function.state.config
    with pytest.raises(BadSetting):
        function.set_moderation(**change)
    assert function.state.config == before
