"""Ring programs: how two drivers lay out their rings, and what they send each other through them."""

from dataclasses import dataclass

from hypothesis import strategies as st

from softdpu.spec import features as f
from softdpu.testkit import ALL_FEATURES, IN_ORDER, PACKED
from softdpu.testkit.frames import EXPERIMENTAL

HEADER = 12
LONGEST = 1514
MACS = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


@dataclass(frozen=True)
class Layout:
    """One driver's rings."""

    packed: bool
    in_order: bool
    event_index: bool
    indirect: bool
    mergeable: bool
    interrupts: bool
    size: int
    room: int  # bytes of a receive buffer

    @property
    def wanted(self) -> int:
        """The features that make it so."""
        without = {f.EVENT_IDX: self.event_index, f.INDIRECT_DESC: self.indirect, f.NET_MRG_RXBUF: self.mergeable}
        added = (PACKED if self.packed else 0) | (IN_ORDER if self.in_order else 0)
        return ALL_FEATURES & ~f.mask_of(*(bit for bit, on in without.items() if not on)) | added

    @property
    def buffers(self) -> int:
        """Receive buffers posted."""
        return min(self.size, 64)

    def burst(self, longest: int) -> int:
        """Frames of up to ``longest`` bytes that its buffers hold at once."""
        each = -(-(longest + HEADER) // self.room) if self.mergeable else 1
        return self.buffers // each


@dataclass(frozen=True)
class Frame:
    """A frame: who sends it, its content, and into which lengths it is cut."""

    sender: int
    length: int
    seed: int
    cuts: tuple[int, ...]

    @property
    def content(self) -> bytes:
        """The frame's bytes."""
        head = MACS[1 - self.sender] + MACS[self.sender] + EXPERIMENTAL.to_bytes(2)
        return head + bytes((self.seed + 31 * place) & 0xFF for place in range(self.length - len(head)))

    @property
    def pieces(self) -> list[int]:
        """Lengths of the descriptors."""
        rest = HEADER + self.length
        pieces = []
        for cut in self.cuts:
            if 0 < cut < rest:
                pieces.append(cut)
                rest -= cut
        return [*pieces, rest]


@dataclass(frozen=True)
class Program:
    """Two drivers' rings, and bursts of frames that are sent together."""

    layouts: tuple[Layout, Layout]
    bursts: tuple[tuple[Frame, ...], ...]


def legal_cuts(cuts: list[int]) -> tuple[int, ...]:
    """DPDK 22.11 takes a header in one descriptor, or in two: the second has all that the first has not."""
    if cuts and cuts[0] < HEADER:
        cuts = [cuts[0], max(HEADER - cuts[0] + 1, *cuts[1:2], 0), *cuts[2:]]
    return tuple(cuts)


def _size(packed: bool) -> st.SearchStrategy[int]:
    return st.integers(64, 256) if packed else st.sampled_from([64, 128, 256])


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Any layout in which the longest frame finds room."""
    packed, mergeable = draw(st.booleans()), draw(st.booleans())
    return Layout(
        packed=packed,
        in_order=draw(st.booleans()),
        event_index=draw(st.booleans()),
        indirect=draw(st.booleans()),
        mergeable=mergeable,
        interrupts=draw(st.booleans()),
        size=draw(_size(packed)),
        room=draw(st.sampled_from([64, 128, 300, 1526, 2048] if mergeable else [1526, 2048])),
    )


FRAMES = st.builds(
    Frame,
    sender=st.sampled_from([0, 1]),
    length=st.one_of(st.sampled_from([60, 64, 65, 128, 1513, LONGEST]), st.integers(60, LONGEST)),
    seed=st.integers(0, 255),
    cuts=st.lists(st.integers(1, 400), max_size=6).map(legal_cuts),
)
PROGRAMS = st.builds(
    Program,
    layouts=st.tuples(layouts(), layouts()),
    bursts=st.lists(st.lists(FRAMES, min_size=1, max_size=20).map(tuple), min_size=1, max_size=6).map(tuple),
)
