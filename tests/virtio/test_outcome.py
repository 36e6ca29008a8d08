"""Effects as a sequence."""

from softdpu.virtio.effects import Kick
from softdpu.virtio.outcome import NOTHING, Effects, Log, effects, note


def test_sum_keeps_the_order_of_effects_and_of_lines() -> None:
    total = effects(Kick(1)) + note("first") + effects(Kick(2)) + note("second", "debug")
    assert list(total) == [Kick(1), Kick(2)]
    assert total.log == (Log("warning", "first"), Log("debug", "second"))


def test_nothing_is_neutral_and_false() -> None:
    assert NOTHING + effects(Kick(1)) == effects(Kick(1)) + NOTHING == effects(Kick(1))
    assert not NOTHING
    assert note("only a line")
    assert len(note("only a line")) == 0
    assert Effects() == NOTHING
