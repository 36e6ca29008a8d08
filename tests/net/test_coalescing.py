"""How long interrupts are held back, as commanded (virtio 1.3 §5.1.6.5.9)."""

import struct

import pytest

from softdpu.net.device import Function
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
