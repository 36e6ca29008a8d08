"""The table of feature bits."""

from hypothesis import given
from hypothesis import strategies as st

from softdpu.spec.features import COMMON_FEATURES, FEATURES, NET_FEATURES, View, bits_of, mask_of, name_of


def test_each_bit_is_described_once() -> None:
    assert len(FEATURES) == len(NET_FEATURES) + len(COMMON_FEATURES)
    assert len({feature.name for feature in FEATURES.values()}) == len(FEATURES)


def test_requirements_are_known_bits() -> None:
    """virtio 1.3 §5.1.3.1."""
    for feature in FEATURES.values():
        assert {*feature.requires, *feature.requires_any} <= set(FEATURES)


def test_bits_from_32_up_are_modern_only() -> None:
    """virtio 1.3 §4.1.4.10: the legacy interface has 32 bits."""
    assert all((feature.view is View.MODERN) == (bit >= 32) for bit, feature in FEATURES.items())


@given(st.sets(st.integers(0, 200)))
def test_words_and_bits_are_the_same(bits: set[int]) -> None:
    """A feature word has any width."""
    assert bits_of(mask_of(*bits)) == sorted(bits)


def test_a_bit_without_a_name_is_shown_by_its_number() -> None:
    assert name_of(15) == "VIRTIO_NET_F_MRG_RXBUF"
    assert name_of(99) == "bit 99"
