"""The function as its controller sees it: operator's changes, start, reset, what there is to see."""

import errno

import pytest

from softdpu.net.mistakes import BadSetting, DriverBound
from softdpu.pci.description import CONFIG_REGION
from softdpu.spec import features as f
from softdpu.spec import pci
from softdpu.virtio.effects import (
    RaiseConfig,
    Reset,
    SetConfigVector,
    SetFilter,
    SetFrameLimit,
    SetHash,
    SetInterrupts,
    SetLink,
    SetOffloads,
    SetPairs,
    StartQueue,
)
from softdpu.virtio.outcome import NOTHING
from tests.virtio.drivers import MAC, Legacy, Modern, enable_msix, header, make, of_type

OTHER = bytes.fromhex("525400000001")


def test_fresh_port_is_brought_to_the_state_of_a_fresh_function() -> None:
    effects = make(mtu=1500).start_effects()
    kinds = [SetLink, SetFrameLimit, SetFilter, SetOffloads, SetPairs, SetHash, SetInterrupts, SetConfigVector]
    assert [type(effect) for effect in effects] == kinds
    assert of_type(effects, SetFrameLimit) == [SetFrameLimit(1518)]


def test_fresh_port_is_brought_to_the_state_of_a_running_function() -> None:
    function = make(queues=5)
    modern = Modern(function)
    modern.bring_up(queues=5)
    modern.write("config_msix_vector", 1)
    enable_msix(function)
    function.command(4, b"\4\0\2\0", 1)
    function.command(4, b"\0\0\0", 1)
    effects = function.start_effects()
    assert of_type(effects, SetPairs) == [SetPairs(2)]
    assert of_type(effects, SetInterrupts) == [SetInterrupts(msix=True, intx_disabled=False)]
    assert of_type(effects, SetConfigVector) == [SetConfigVector(1)]
    assert not of_type(effects, SetFilter)[0].promiscuous
    roles = ["receive", "transmit", "receive", "transmit", "control"]
    assert [start.role for start in of_type(effects, StartQueue)] == roles


def test_reset_leaves_a_fresh_function() -> None:
    function = make()
    Modern(function).bring_up()
    enable_msix(function)
    header(function).write("bar4", 0xFE000000)
    effects = function.reset()
    assert effects.items[0] == Reset()
    assert of_type(effects, SetInterrupts) == [SetInterrupts(msix=False, intx_disabled=False)]
    assert function.state == make().state


def test_next_vmm_finds_a_fresh_function() -> None:
    function = make()
    Legacy(function).bring_up()
    function.disconnected()
    assert function.state == make().state


def test_faults_are_kept_over_resets_and_bounded() -> None:
    function = make()
    for number in range(20):
        Modern(function).bring_up()
        function.queue_fault(0, f"cause {number} " + "x" * 500)
        function.reset()
    assert len(function.faults) == 8
    assert function.faults[-1].startswith("queue 0: cause 19")
    assert all(len(fault) <= 200 for fault in function.faults)


@pytest.mark.parametrize("queue", [-1, 2, 3, 70000])
def test_fault_of_a_queue_that_does_not_run_is_only_noted(queue: int) -> None:
    """The driver may have reset it before the fault was heard."""
    function = make()
    Modern(function).bring_up(queues=2)
    effects = function.queue_fault(queue, "a loop")
    assert (effects.items, function.status, function.faults) == ((), 15, ())
    assert effects.log


def test_link_change_is_told_to_a_running_driver() -> None:
    """virtio 1.3 §3.2.1."""
    function = make()
    assert function.set_link(False).items == (SetLink(False),)
    Modern(function).bring_up()
    assert function.set_link(True).items == (SetLink(True), RaiseConfig())
    assert function.set_link(True) == NOTHING


def test_speed_change_is_told_to_a_running_driver() -> None:
    """§5.1.4: speed can change, with a configuration change notification."""
    function = make()
    Modern(function).bring_up()
    assert function.set_speed(100000).items == (RaiseConfig(),)
    assert Modern(function).config(0x0C, 4) == (100000).to_bytes(4, "little")
    assert function.set_speed(100000) == NOTHING


def test_address_and_mtu_change_while_no_driver_is_bound() -> None:
    function = make()
    assert of_type(function.set_mac(OTHER), SetFilter)[0].addresses == (OTHER,)
    assert function.set_mtu(9000).items == (SetFrameLimit(9018),)
    assert Modern(function).config(0, 6) == OTHER
    assert Modern(function).config(0x0A, 2) == (9000).to_bytes(2, "little")
    function.reset()
    assert Modern(function).config(0, 6) == OTHER


def test_address_and_mtu_do_not_change_under_a_driver() -> None:
    """§5.1.4.1: the device must not modify mtu once it has been set."""
    function = make()
    Modern(function).write("device_status", 3)
    with pytest.raises(DriverBound, match="the MAC address cannot be changed while a driver is bound") as refused:
        function.set_mac(OTHER)
    assert refused.value.errno == errno.EBUSY
    with pytest.raises(DriverBound, match="the MTU"):
        function.set_mtu(9000)
    assert function.state.config == make().state.config


def test_unbound_driver_lets_the_address_change() -> None:
    """Linux writes 0 and then ACKNOWLEDGE when a driver is unbound."""
    function = make()
    modern = Modern(function)
    modern.bring_up()
    modern.write("device_status", 0)
    modern.write("device_status", 1)
    function.set_mac(OTHER)
    assert modern.config(0, 6) == OTHER


def test_settings_that_cannot_be_are_refused() -> None:
    function = make()
    with pytest.raises(BadSetting):
        function.set_mac(bytes(6))
    with pytest.raises(BadSetting):
        function.set_mtu(10)
    with pytest.raises(BadSetting):
        function.set_speed(-1)
    assert function.state == make().state


def test_announcement() -> None:
    """§5.1.6.5.4."""
    function = make()
    assert function.announce().items == ()
    Modern(function).bring_up()
    assert function.announce().items == (RaiseConfig(),)
    assert Modern(function).config(6, 2) == b"\3\0"


def test_announcement_the_driver_did_not_agree_to() -> None:
    function = make()
    Modern(function).bring_up(f.mask_of(f.VERSION_1, f.NET_STATUS))
    effects = function.announce()
    assert effects.items == ()
    assert "not announced" in effects.log[0].text


def test_views() -> None:
    function = make()
    Modern(function).bring_up()
    queue = function.queues[1]
    assert (queue.index, queue.size, queue.enabled, queue.notify_offset) == (1, 256, True, 1)
    assert (queue.descriptor, queue.driver, queue.device) == (0x110000, 0x120000, 0x130000)
    assert function.enabled_queues == 3
    assert function.status == 15
    assert function.driver_features == function.device_features & ~f.mask_of(f.ANY_LAYOUT)
    assert function.transitional_mode == "modern"


@pytest.mark.parametrize("region", [-1, 0, 1, 2, 3, 5, 6, 8, 9, 1 << 40])
def test_regions_that_are_not_there_read_zero(region: int) -> None:
    function = make("modern", vectors=0)
    assert function.read(region, 0, 4) == (bytes(4), NOTHING)
    assert function.write(region, 0, b"\xff" * 4) == NOTHING


@pytest.mark.parametrize("offset", [-1, 4096, 1 << 62])
@pytest.mark.parametrize("size", [-5, 0, 1, 4, 1 << 40])
def test_accesses_past_the_end(offset: int, size: int) -> None:
    function = make()
    for region in (0, 1, 4, CONFIG_REGION):
        data, _ = function.read(region, offset, size, 0xFFFFFF)
        assert len(data) == min(max(size, 0), 1 << 20)
        assert not any(data) or region == 4
    assert function.write(CONFIG_REGION, offset, b"\xff" * 64) == NOTHING


def test_mac_of_the_operator_survives_the_driver() -> None:
    function = make()
    Modern(function).bring_up()
    function.command(2, b"\1\1" + OTHER, 1)
    Modern(function).write("device_status", 0)
    assert function.state.net.mac == function.state.config.mac == MAC


def test_decoding() -> None:
    function = make()
    header(function).write("command", pci.COMMAND_MASTER)
    assert not function.decoding
