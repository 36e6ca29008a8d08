"""What may be accepted, and what is said of each bit (virtio 1.3 §2.2)."""

import pytest

from softdpu.spec import features as f
from softdpu.virtio.negotiation import Verdict, refusal, shown, usable
from tests.virtio.drivers import Legacy, Modern, make

OFFER = make(queues=5).device_features


def test_any_valid_subset_is_accepted() -> None:
    """§2.2.2: the device should accept any valid subset."""
    for subset in (0, f.mask_of(f.NET_MAC), f.mask_of(f.NET_CTRL_VQ, f.NET_MQ), shown(OFFER, "modern")):
        assert refusal(OFFER, subset | 1 << f.VERSION_1) is None


@pytest.mark.parametrize(
    ("bits", "why"),
    [
        ((f.NET_MAC,), "the driver did not accept VIRTIO_F_VERSION_1"),
        ((f.VERSION_1, f.NET_MQ), "the driver accepted VIRTIO_NET_F_MQ without VIRTIO_NET_F_CTRL_VQ"),
        ((f.VERSION_1, f.NET_GUEST_UFO), "the driver accepted VIRTIO_NET_F_GUEST_UFO, which was not offered"),
        ((f.VERSION_1, f.ANY_LAYOUT), "the driver accepted VIRTIO_F_ANY_LAYOUT, which was not offered"),
        ((f.VERSION_1, 45), "the driver accepted bit 45, which was not offered"),
    ],
)
def test_invalid_sets_are_refused_by_name(bits: tuple[int, ...], why: str) -> None:
    assert refusal(OFFER, f.mask_of(*bits)) == why


def test_refused_features_leave_features_ok_clear() -> None:
    """§3.1.1 step 6: the driver reads the status again and finds the bit gone."""
    modern = Modern(make())
    effects = modern.negotiate(f.mask_of(f.NET_MAC))
    assert modern.read("device_status") == 3
    assert "FEATURES_OK refused" in effects.log[0].text


def test_refused_driver_cannot_run_by_setting_both_bits_at_once() -> None:
    modern = Modern(make())
    modern.negotiate(0)
    effects = modern.write("device_status", 15)
    assert modern.read("device_status") == 3
    assert effects.items == ()


def test_refused_driver_may_try_again() -> None:
    modern = Modern(make())
    modern.negotiate(0)
    modern.accept(f.mask_of(f.VERSION_1))
    modern.write("device_status", 11)
    assert modern.read("device_status") == 11


def test_features_are_final_after_features_ok() -> None:
    """§3.1.1 step 5: the driver must not accept new bits after this step."""
    function = make()
    modern = Modern(function)
    modern.negotiate(f.mask_of(f.VERSION_1))
    modern.accept(f.mask_of(f.VERSION_1, f.NET_MAC))
    assert function.driver_features == f.mask_of(f.VERSION_1)


def test_legacy_driver_keeps_what_holds() -> None:
    """§2.2.3 and §3.1.2: it cannot be refused, so a bit without what it requires is left out."""
    assert usable(OFFER, f.mask_of(f.NET_MQ, f.NET_CTRL_RX, f.NET_MAC)) == f.mask_of(f.NET_MAC)
    assert usable(OFFER, 0xFFFFFFFF) == shown(OFFER, "legacy")


def test_same_features_can_be_negotiated_again() -> None:
    """§2.2.2: a set that was accepted once is accepted after a reset."""
    modern = Modern(make())
    for _ in range(3):
        modern.negotiate()
        assert modern.read("device_status") == 11


def why(verdicts: list[Verdict], bit: int) -> str:
    return next(verdict.why for verdict in verdicts if verdict.bit == bit)


def test_each_bit_is_explained() -> None:
    function = make()
    Modern(function).bring_up(f.mask_of(f.VERSION_1, f.NET_MAC))
    verdicts = function.negotiation
    assert [verdict.bit for verdict in verdicts] == sorted(f.FEATURES)
    assert why(verdicts, f.NET_MAC) == "in use"
    assert why(verdicts, f.NET_MTU) == "offered; the driver has not accepted it"
    assert why(verdicts, f.NET_MQ).startswith("not offered: there is one queue pair")
    assert why(verdicts, f.NET_GUEST_UFO) == "not offered: this device does not implement it"
    assert why(verdicts, f.ACCESS_PLATFORM) == "not offered: only on request, features 0x200000000"
    assert "legacy only" in why(verdicts, f.ANY_LAYOUT)


def test_explanation_of_a_legacy_driver() -> None:
    function = make()
    assert why(function.negotiation, f.NET_MAC) == "offered; no driver has negotiated since the last reset"
    Legacy(function).bring_up()
    assert why(function.negotiation, f.ANY_LAYOUT) == "in use"
    assert why(function.negotiation, f.VERSION_1) == "offered, but a legacy driver cannot see it: modern only"


def test_explanation_of_a_refusal() -> None:
    function = make()
    Modern(function).negotiate(f.mask_of(f.VERSION_1, f.NET_CTRL_RX, f.NET_GUEST_UFO))
    assert why(function.negotiation, f.NET_CTRL_RX) == "offered; the driver accepted it without VIRTIO_NET_F_CTRL_VQ"
    assert why(function.negotiation, f.VERSION_1).endswith("and has not set FEATURES_OK")
    assert why(function.negotiation, f.NET_GUEST_UFO).endswith("the driver accepted it all the same")
