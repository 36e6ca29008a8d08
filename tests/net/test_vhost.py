"""A function behind vhost-user: what its back end offers, and what an operator sees of its front end."""

import pytest

from softdpu.net import backend
from softdpu.net.backend import Agreement, Ring
from softdpu.net.mistakes import BadSetting, BadState, DriverBound, NotOurs
from softdpu.net.state import FunctionConfig
from softdpu.net.vhost import VhostFunction, VhostState
from softdpu.spec import features as f
from softdpu.virtio.effects import SetCoalescing, SetDeviceConfig, SetFrameLimit, SetLink

MAC = bytes.fromhex("0cc47aff2293")
RING = Ring(size=256, descriptor=0x1000, driver=0x2000, device=0x3000, started=True, enabled=True, position=0)
IDLE = Ring(size=0, descriptor=0, driver=0, device=0, started=False, enabled=False, position=0)


def function(queues: int = 3, **config: object) -> VhostFunction:
    return VhostFunction.create(FunctionConfig(layout="transitional", mac=MAC, queues=queues, **config))  # type: ignore[arg-type]


def agreement(features: int, status: int = 0, protocol_features: int = 0, rings: tuple[Ring, ...] = ()) -> Agreement:
    return Agreement(features, protocol_features, status, 0, rings)


def test_the_control_queue_and_what_needs_it_are_the_vmms() -> None:
    offered = function(queues=5).device_features
    assert not offered & f.mask_of(f.NET_CTRL_VQ, f.NET_CTRL_RX, f.NET_CTRL_GUEST_OFFLOADS, f.NET_RSS)
    assert offered >> f.NET_MQ & 1, "QEMU asks the back end for these two"
    assert offered >> f.NET_GUEST_ANNOUNCE & 1


def test_rings_come_in_pairs_without_a_control_queue() -> None:
    assert [function(queues).description.queues for queues in (2, 3, 5, 65)] == [2, 2, 4, 64]
    assert not function(3).device_features >> f.NET_MQ & 1


def test_the_configuration_is_the_one_of_the_device() -> None:
    config = function(mtu=9000).description.config
    assert config[:6] == MAC
    assert int.from_bytes(config[10:12], "little") == 9000


def test_the_status_is_told_by_the_front_end_or_by_its_steps() -> None:
    subject = function()
    assert (subject.status, subject.transitional_mode) == (0, None)
    subject.negotiated(agreement(1 << f.VERSION_1))
    assert (subject.status, subject.transitional_mode) == (0xB, "modern")
    subject.negotiated(agreement(1 << f.NET_CSUM, rings=(RING, RING)))
    assert (subject.status, subject.transitional_mode) == (0x7, "legacy")
    subject.negotiated(agreement(1 << f.VERSION_1, status=0x4F, protocol_features=1 << backend.STATUS))
    assert subject.status == 0x4F
    subject.disconnected()
    assert subject.status == 0


def test_a_queue_runs_when_it_is_started_and_enabled() -> None:
    subject = function(queues=5)
    subject.negotiated(agreement(1 << f.VERSION_1, rings=(RING, RING, IDLE, IDLE)))
    assert [queue.enabled for queue in subject.queues] == [True, True, False, False]
    assert (subject.enabled_queues, subject.queues[0].driver, subject.queues[2].size) == (2, 0x2000, 256)


def test_changes_reach_port_and_configuration() -> None:
    subject = function()
    assert [type(effect) for effect in subject.set_mtu(9000)] == [SetDeviceConfig, SetFrameLimit]
    assert [type(effect) for effect in subject.set_link(False)] == [SetLink, SetDeviceConfig]
    assert not subject.set_link(False)
    (change,) = subject.set_mac(bytes.fromhex("0cc47aff2294"))
    assert isinstance(change, SetDeviceConfig)
    assert change.config[5] == 0x94


def test_mac_and_mtu_do_not_change_under_a_driver() -> None:
    subject = function()
    subject.negotiated(agreement(1 << f.VERSION_1, rings=(RING, RING)))
    with pytest.raises(DriverBound):
        subject.set_mac(MAC)
    with pytest.raises(DriverBound):
        subject.set_mtu(1400)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadSetting):
        function(mtu=1)
    with pytest.raises(BadState):
        VhostFunction.restore(VhostState(FunctionConfig(layout="modern", mac=b"")))


def test_a_saved_function_goes_on() -> None:
    subject = function()
    subject.queue_fault(1, "it lies")
    assert VhostFunction.restore(subject.state).faults == ("queue 1: it lies",)


def test_the_reason_is_given_for_each_bit_left_out() -> None:
    verdicts = {verdict.bit: verdict.why for verdict in function().negotiation}
    assert "VMM" in verdicts[f.NET_CTRL_VQ]
    assert "queue pair" in verdicts[f.NET_MQ]


def test_every_front_end_finds_the_moderation_that_the_operator_set() -> None:
    """What the datapath was told of its rings goes with the one before."""
    subject = function()
    assert subject.connected().items == ()
    settings = (SetCoalescing(0, 8, 50, "event"), SetCoalescing(1, 8, 50, "event"))
    assert subject.set_moderation(packets=8, microseconds=50).items == settings
    assert subject.connected().items == settings
    assert VhostFunction.restore(subject.state).start_effects().items[-2:] == settings


@pytest.mark.parametrize("name", ["rx_mode", "state"])
def test_what_is_told_the_vmm_only_cannot_be_set(name: str) -> None:
    with pytest.raises(NotOurs, match="over vhost-user"):
        getattr(function(), f"set_{name}")(0)
