"""VFIO_USER_DEVICE_FEATURE: MIGRATION, MIG_DEVICE_STATE and MIG_DATA_SIZE."""

import errno
import itertools

import pytest

from softdpu.spec.vfio import FORBIDDEN, SAVING, Can, State
from softdpu.testkit import Client, Driver, LegacyDriver, ModernDriver, RequestFailed, wire
from softdpu.testkit.wire import Feature, FeatureFlag
from tests.dpu_under_test import Dpu, Plugged
from tests.small_guest import SmallGuest

GET, SET = FeatureFlag.GET, FeatureFlag.SET
STATES = sorted(set(State) - {State.ERROR})
PAIRS = [pair for pair in itertools.product(STATES, STATES) if pair not in FORBIDDEN]


def refusal(vmm: Client, state: int) -> int | None:
    with pytest.raises(RequestFailed) as refused:
        vmm.device_feature(Feature.MIG_DEVICE_STATE | SET, wire.MIG_DEVICE_STATE.pack(device_state=state))
    return refused.value.errno


def test_all_states_are_there(vmm: Client) -> None:
    assert vmm.migration_states() == Can.STOP_COPY | Can.P2P | Can.PRE_COPY


@pytest.mark.parametrize("feature", [Feature.MIGRATION, Feature.MIG_DEVICE_STATE, Feature.MIG_DATA_SIZE])
def test_room_for_less_than_the_answer(vmm: Client, feature: Feature) -> None:
    assert len(vmm.device_feature(feature | GET, argsz=16)) == 8
    with pytest.raises(RequestFailed) as refused:
        vmm.device_feature(feature | GET, argsz=15)
    assert refused.value.errno == errno.EINVAL


def test_a_device_is_running_and_has_no_descriptor_to_read_from(vmm: Client) -> None:
    reply = vmm.device_feature(Feature.MIG_DEVICE_STATE | GET)
    assert wire.MIG_DEVICE_STATE.unpack(reply) == {"device_state": State.RUNNING, "data_fd": 0xFFFFFFFF}


@pytest.mark.parametrize(("now", "then"), PAIRS, ids=lambda state: state.name)
def test_any_state_is_reached_from_any_other(vmm: Client, now: State, then: State) -> None:
    vmm.migration_state = now
    assert vmm.migration_state == now
    asked = wire.MIG_DEVICE_STATE.pack(device_state=then, data_fd=7)
    assert vmm.device_feature(Feature.MIG_DEVICE_STATE | SET, asked) == asked
    assert vmm.migration_state == then


@pytest.mark.parametrize(("now", "then"), sorted(FORBIDDEN), ids=lambda state: state.name)
def test_the_end_of_a_copy_does_not_lead_back_to_its_beginning(vmm: Client, now: State, then: State) -> None:
    vmm.migration_state = now
    assert refusal(vmm, then) == errno.EINVAL
    assert vmm.migration_state == now


@pytest.mark.parametrize("state", [State.ERROR, 8, 0xABCD, 0xFFFFFFFF])
def test_what_is_no_state_to_enter(vmm: Client, state: int) -> None:
    assert refusal(vmm, state) == errno.EINVAL
    assert vmm.migration_state == State.RUNNING


@pytest.mark.parametrize("length", range(8))
def test_a_state_that_is_cut_short(vmm: Client, length: int) -> None:
    with pytest.raises(RequestFailed) as refused:
        vmm.device_feature(Feature.MIG_DEVICE_STATE | SET, wire.MIG_DEVICE_STATE.pack(device_state=1)[:length])
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_reset_leads_back_to_running(vmm: Client, state: State) -> None:
    vmm.migration_state = state
    vmm.reset()
    assert vmm.migration_state == State.RUNNING


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_the_next_vmm_finds_a_running_device(device: Plugged, vmm: Client, state: State) -> None:
    vmm.migration_state = state
    vmm.close()
    with Client(device.socket) as following:
        following.negotiate()
        assert following.migration_state == State.RUNNING


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_the_next_controller_finds_the_device_in_its_state(own_dpu: Dpu, state: State) -> None:
    with SmallGuest(own_dpu.hotplug()) as guest:
        guest.vmm.migration_state = state
        own_dpu.kill_controller()
        own_dpu.start_controller()
        assert guest.vmm.migration_state == state
        guest.vmm.migration_state = State.RUNNING


@pytest.mark.parametrize("kind", [LegacyDriver, ModernDriver])
@pytest.mark.parametrize("state", set(STATES) - {State.RUNNING, State.PRE_COPY}, ids=lambda state: state.name)
def test_a_device_that_does_not_run_touches_no_ring(device: Plugged, kind: type[Driver], state: State) -> None:
    with SmallGuest(device, kind) as guest:
        guest.vmm.migration_state = state
        before = guest.memory.read(guest.memory.base, guest.memory.size)
        guest.net.send(bytes(60))
        sent = guest.memory.read(guest.memory.base, guest.memory.size)
        assert guest.net.status & 4, "it answers its driver"
        assert guest.memory.read(guest.memory.base, guest.memory.size) == sent != before
        guest.vmm.migration_state = State.RUNNING
        guest.net.await_used(1, 5.0)


def test_how_much_there_will_be_is_known_in_every_state(vmm: Client) -> None:
    for state in STATES:
        vmm.reset()
        vmm.migration_state = state
        promised = vmm.migration_data_size
        if state in SAVING:
            assert 0 < len(vmm.migration_read_all()) < 2 * promised
