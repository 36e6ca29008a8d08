"""Frames between guests behind vhost-user, in each layout and with each header."""

import pytest

from softdpu.spec import features as f
from softdpu.testkit.frames import BROADCAST, frame
from tests.vhost.conftest import Plug

MODERN = f.mask_of(f.VERSION_1, f.NET_MRG_RXBUF)
KINDS: dict[str, int] = {
    "legacy": 0,
    "legacy mergeable": f.mask_of(f.NET_MRG_RXBUF),
    "modern": f.mask_of(f.VERSION_1),
    "mergeable": MODERN,
    "event index": MODERN | f.mask_of(f.EVENT_IDX),
    "packed": MODERN | f.mask_of(f.RING_PACKED),
    "packed event index": MODERN | f.mask_of(f.RING_PACKED, f.EVENT_IDX),
    "packed in order": MODERN | f.mask_of(f.RING_PACKED, f.IN_ORDER),
    "in order": MODERN | f.mask_of(f.IN_ORDER),
}


@pytest.mark.parametrize("wanted", KINDS.values(), ids=KINDS.keys())
def test_frames_go_both_ways(plug: Plug, wanted: int) -> None:
    a, b = plug(0, wanted=wanted), plug(1, wanted=f.mask_of(f.VERSION_1))
    there = [frame(BROADCAST, bytes((2, 0, 0, 0, 0, 1)), bytes([n]) * 100) for n in range(50)]
    back = [frame(bytes((2, 0, 0, 0, 0, 1)), bytes((2, 0, 0, 0, 0, 2)), bytes([n]) * 1000) for n in range(50)]
    for sent in there:
        a.send(sent)
    assert [b.receive() for _ in there] == there
    for sent in back:
        b.send(sent)
    assert [a.receive() for _ in back] == back
