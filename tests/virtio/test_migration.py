"""The states of a device that is moved, and the ways between them (linux/vfio.h)."""

import itertools

import pytest

from softdpu.spec.vfio import ARCS, FORBIDDEN, SAVING, State
from softdpu.virtio.migration import NoWay, way

S = State

# What Linux's vfio_mig_get_next_state says for a device that has all states: the first step from one towards another.
FIRST_STEPS = {
    S.STOP: {
        S.RUNNING: S.RUNNING_P2P,
        S.STOP_COPY: S.STOP_COPY,
        S.RESUMING: S.RESUMING,
        S.RUNNING_P2P: S.RUNNING_P2P,
        S.PRE_COPY: S.RUNNING_P2P,
        S.PRE_COPY_P2P: S.RUNNING_P2P,
    },
    S.RUNNING: {
        S.STOP: S.RUNNING_P2P,
        S.STOP_COPY: S.RUNNING_P2P,
        S.RESUMING: S.RUNNING_P2P,
        S.RUNNING_P2P: S.RUNNING_P2P,
        S.PRE_COPY: S.PRE_COPY,
        S.PRE_COPY_P2P: S.RUNNING_P2P,
    },
    S.STOP_COPY: {S.STOP: S.STOP, S.RUNNING: S.STOP, S.RESUMING: S.STOP, S.RUNNING_P2P: S.STOP},
    S.RESUMING: {
        S.STOP: S.STOP,
        S.RUNNING: S.STOP,
        S.STOP_COPY: S.STOP,
        S.RUNNING_P2P: S.STOP,
        S.PRE_COPY: S.STOP,
        S.PRE_COPY_P2P: S.STOP,
    },
    S.RUNNING_P2P: {
        S.STOP: S.STOP,
        S.RUNNING: S.RUNNING,
        S.STOP_COPY: S.STOP,
        S.RESUMING: S.STOP,
        S.PRE_COPY: S.RUNNING,
        S.PRE_COPY_P2P: S.PRE_COPY_P2P,
    },
    S.PRE_COPY: {
        S.STOP: S.RUNNING,
        S.RUNNING: S.RUNNING,
        S.STOP_COPY: S.PRE_COPY_P2P,
        S.RESUMING: S.RUNNING,
        S.RUNNING_P2P: S.RUNNING,
        S.PRE_COPY_P2P: S.PRE_COPY_P2P,
    },
    S.PRE_COPY_P2P: {
        S.STOP: S.RUNNING_P2P,
        S.RUNNING: S.RUNNING_P2P,
        S.STOP_COPY: S.STOP_COPY,
        S.RESUMING: S.RUNNING_P2P,
        S.RUNNING_P2P: S.RUNNING_P2P,
        S.PRE_COPY: S.PRE_COPY,
    },
}
PAIRS = [(now, end) for now, end in itertools.permutations(FIRST_STEPS, 2) if (now, end) not in FORBIDDEN]


@pytest.mark.parametrize(("now", "end"), PAIRS, ids=lambda state: state.name)
def test_each_step_is_the_one_that_linux_takes(now: State, end: State) -> None:
    for step in way(now, end):
        assert step == FIRST_STEPS[now][end]
        assert step in ARCS[now]
        now = step
    assert now == end


@pytest.mark.parametrize(("now", "end"), PAIRS, ids=lambda state: state.name)
def test_no_session_is_begun_on_the_way(now: State, end: State) -> None:
    if not {now, end} <= SAVING:
        assert not set(way(now, end)[:-1]) & SAVING


@pytest.mark.parametrize("state", list(FIRST_STEPS), ids=lambda state: state.name)
def test_where_the_device_is_there_is_no_step(state: State) -> None:
    assert way(state, state) == ()


@pytest.mark.parametrize(("now", "end"), sorted(FORBIDDEN), ids=lambda state: state.name)
def test_from_the_end_of_a_copy_there_is_no_way_back_to_its_beginning(now: State, end: State) -> None:
    with pytest.raises(NoWay, match="no way from STOP_COPY to PRE_COPY"):
        way(now, end)


@pytest.mark.parametrize("target", [S.ERROR, 8, 0xABCD, -1, 0xFFFFFFFF])
def test_what_is_no_state_to_enter(target: int) -> None:
    with pytest.raises(NoWay, match="is no state"):
        way(S.RUNNING, target)


@pytest.mark.parametrize("target", list(FIRST_STEPS), ids=lambda state: state.name)
def test_from_an_error_only_a_reset_leads_on(target: State) -> None:
    with pytest.raises(NoWay, match="reset"):
        way(S.ERROR, target)
