"""What the VFs of a PF share."""

import pytest

from softdpu.controller import pools
from softdpu.controller.errors import OperatorError
from softdpu.controller.pools import Share
from softdpu.net.state import FunctionConfig

MAC = bytes.fromhex("0cc47aff2293")
DEFAULT = Share(10, 4)


def member(vectors: int = 10, pairs: int = 4) -> FunctionConfig:
    return FunctionConfig(layout="modern", virtual=True, mac=MAC, vectors=vectors, queues=pools.queues_of(pairs))


@pytest.mark.parametrize(("vectors", "pairs"), [(2, 1), (4, 1), (6, 2), (10, 4), (66, 32), (256, 32)])
def test_each_queue_of_a_pair_has_a_vector(vectors: int, pairs: int) -> None:
    assert pools.pairs_of(vectors) == pairs


def test_what_one_gives_up_is_in_the_pool() -> None:
    assert pools.left(DEFAULT, [member(), member()]) == (0, 0)
    assert pools.left(DEFAULT, [member(4, 1), member(12, 5)]) == (4, 2)


def test_queue_pairs_follow_the_vectors() -> None:
    fewer = pools.changed("a VF", member(), Share(0, 0), 4, None)
    assert pools.share_of(fewer) == (4, 1)
    more = pools.changed("a VF", member(), Share(6, 3), 16, None)
    assert pools.share_of(more) == (16, 7)


def test_queue_pairs_can_be_asked_for_alone() -> None:
    assert pools.share_of(pools.changed("a VF", member(), Share(0, 1), None, 5)) == (10, 5)


@pytest.mark.parametrize(
    ("vectors", "pairs", "number", "said"),
    [
        (1, None, 22, "a VF has 2 to 256"),
        (257, None, 22, "a VF has 2 to 256"),
        (None, 33, 22, "a VF has 1 to 32"),
        (13, None, 28, "it has 10, and the pool of its PF has 2 left"),
        (None, 6, 28, "it has 4, and the pool of its PF has 1 left"),
    ],
)
def test_more_than_there_is_is_refused(vectors: int | None, pairs: int | None, number: int, said: str) -> None:
    with pytest.raises(OperatorError, match=said) as refused:
        pools.changed("a VF", member(), Share(2, 1), vectors, pairs)
    assert refused.value.errno == number


def test_what_was_enlarged_may_shrink_whatever_the_pool_has() -> None:
    """The firmware may have come to allow less."""
    assert pools.share_of(pools.changed("a VF", member(16, 7), Share(-6, -3), 12, None)) == (12, 5)
