"""Any guest, any VMM, any saved file: nothing raises, and no state is reached that cannot be restored."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from softdpu.net.device import Function
from softdpu.net.mistakes import BadState
from softdpu.net.state import Layout
from softdpu.net.validation import decode, encode
from softdpu.pci.image import image
from softdpu.pci.plan import plan
from softdpu.spec import legacy, pci
from softdpu.spec import virtio_pci as v
from softdpu.virtio.effects import AnyEffect, SetConfigVector, SetFilter, SetHash, SetPairs, SetVector, StartQueue
from softdpu.virtio.outcome import Effects
from tests.virtio.drivers import Legacy, Modern, enable_msix, make

RSS = struct.pack("<IHH2HHB", 0x1FF, 1, 1, 0, 1, 2, 3) + b"key"  # two queues in turn

EXAMPLES = settings(max_examples=150, deadline=None)

layouts = st.sampled_from(["modern", "transitional", "legacy"])
shapes = st.fixed_dictionaries(
    {"queues": st.sampled_from([2, 3, 5, 9]), "vectors": st.sampled_from([0, 1, 4]), "queue_size": st.just(256)}
)

# Offsets near registers, so that accesses meet something; and anywhere at all.
_starts = [register.offset for bank in (v.COMMON, legacy.LEGACY_MSIX, pci.HEADER) for register in bank.registers]
_starts += [*image(plan("transitional", 4, 3)).at.values(), 0x1000, 0x2000, 0x3000, 0x800, 4095]
offsets = st.one_of(st.sampled_from(_starts), st.integers(0, 300), st.integers(-5, 1 << 64))
regions = st.one_of(st.sampled_from([0, 1, 4, 7]), st.integers(-1, 9))
values = st.one_of(
    st.sampled_from([0, 1, 3, 6, 7, 11, 15, 128, 0xFFFF, 1 << 32, 0x8000_0101_30F9_8028]), st.integers(0, 1 << 64)
)
data = st.one_of(
    st.builds(
        lambda value, size: (value & (1 << 8 * size) - 1).to_bytes(size, "little"),
        values,
        st.sampled_from([1, 2, 4, 8]),
    ),
    st.binary(max_size=40),
)

reads = st.tuples(st.just("read"), regions, offsets, st.integers(-1, 70), st.integers(0, 255))
writes = st.tuples(st.just("write"), regions, offsets, data)
commands = st.tuples(
    st.just("command"),
    st.integers(-1, 10),
    st.builds(
        lambda head, body: bytes(head) + body, st.tuples(st.integers(0, 5), st.integers(0, 6)), st.binary(max_size=24)
    ),
    st.integers(-1, 3),
)
faults = st.tuples(st.just("queue_fault"), st.integers(-1, 10), st.text(max_size=300))
others = st.sampled_from([("reset",), ("disconnected",), ("announce",), ("set_link", True), ("set_link", False)])
bring_up = st.sampled_from([("modern",), ("legacy",), ("msix",)])
calls = st.lists(st.one_of(writes, writes, writes, reads, commands, faults, others, bring_up), max_size=25)


def perform(function: Function, call: tuple[Any, ...]) -> None:
    """One call; every effect of it must be one that the datapath can carry out."""
    name, *arguments = call
    if name == "modern" and function.state.config.layout != "legacy":
        Modern(function).bring_up()
    elif name == "legacy" and function.state.config.layout != "modern":
        Legacy(function).bring_up()
    elif name == "msix" and function.state.config.vectors:
        enable_msix(function)
    elif name not in ("modern", "legacy", "msix"):
        result = getattr(function, name)(*arguments)
        check_effects(function, result if isinstance(result, Effects) else result[1])


def check_effects(function: Function, effects: Effects) -> None:
    for effect in effects:
        check_effect(function, effect)


def check_effect(function: Function, effect: AnyEffect) -> None:
    config = function.state.config
    vectors = {*range(config.vectors), v.NO_VECTOR}
    match effect:
        case StartQueue():
            assert effect.queue < len(function.queues)
            assert 0 < effect.size <= config.queue_size
            assert max(effect.descriptor, effect.driver, effect.device) < 1 << 64
            assert effect.header in (10, 12, 20)
            assert effect.vector in vectors
        case SetVector() | SetConfigVector():
            assert effect.vector in vectors
        case SetFilter():
            assert all(len(address) == 6 for address in effect.addresses)
            assert effect.vlans is None or len(effect.vlans) == 512
        case SetPairs():
            assert 1 <= effect.pairs <= max(1, len(function.queues) // 2)
        case SetHash():
            assert len(effect.key) <= 40
            assert effect.types < 1 << 9
            assert len(effect.table) in ([1 << n for n in range(8)] if effect.steer else [0])
            assert max((*effect.table, effect.unclassified)) < max(1, len(function.queues) // 2)


@EXAMPLES
@given(layouts, shapes, calls)
def test_no_call_raises_and_every_state_can_be_restored(
    layout: Layout, shape: dict[str, int], sequence: list[Any]
) -> None:
    function = make(layout, **shape)
    for call in sequence:
        perform(function, call)
        again = Function.restore(decode(encode(function.state)))
        assert encode(again.state) == encode(function.state)
    assert again_behaves_the_same(function)


def again_behaves_the_same(function: Function) -> bool:
    again = Function.restore(decode(encode(function.state)))
    same = again.start_effects() == function.start_effects()
    return same and all(again.read(region, 0, 64) == function.read(region, 0, 64) for region in (7, 1, 0, 4))


@EXAMPLES
@given(layouts, regions, offsets, st.integers(-1, 5000))
def test_read_has_the_size_that_was_asked_for(layout: Layout, region: int, offset: int, size: int) -> None:
    content, _ = make(layout).read(region, offset, size, 3)
    assert len(content) == max(0, size)


def paths(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested maps and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, inner in items for deeper in paths(inner, (*path, key)))]


def full_state() -> Any:
    """A state with something in every field, as nested maps and lists."""
    function = make(queues=5)
    Modern(function).bring_up(queues=5)
    enable_msix(function)
    function.write(1, 0, bytes(16))
    function.command(4, b"\1\0\1\0\0\0\2\2\2\2\2\2\0\0\0\0", 1)
    function.command(4, b"\0\1\1", 1)
    function.command(4, b"\4\1" + RSS, 1)
    function.queue_fault(1, "a loop")
    return msgspec.msgpack.decode(encode(function.state), strict=False)


replacements = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.binary(max_size=20),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.floats(),
)


@EXAMPLES
@given(st.data())
def test_any_change_to_a_saved_state_is_refused_or_harmless(draw: st.DataObject) -> None:
    raw = full_state()
    place = draw.draw(st.sampled_from(paths(raw)[1:]))
    target = raw
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = draw.draw(replacements)
    try:
        function = Function.restore(decode(msgspec.msgpack.encode(raw)))
    except BadState:
        return
    check_effects(function, function.start_effects())
    perform(function, ("reset",))


@EXAMPLES
@given(st.binary(max_size=200))
@example(b"\x93\x01")
def test_bytes_are_a_state_or_refused(content: bytes) -> None:
    try:
        Function.restore(decode(content))
    except BadState:
        return
