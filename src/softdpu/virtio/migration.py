"""The way from one migration state to another (linux/vfio.h): the shortest over the arcs that there are."""

from collections import deque

from softdpu.spec.vfio import ARCS, FORBIDDEN, SAVING, State


class NoWay(Exception):
    """A state that cannot be asked for now: the end of a sentence."""


def way(now: State, target: int) -> tuple[State, ...]:
    """The states to enter one after the other, the last of them ``target``; none when it is entered already.

    A session of reading is never begun or ended on the way: states of the saving group lie on it only where both its
    ends are of that group. Raises NoWay.

    >>> [state.name for state in way(State.RUNNING, State.STOP_COPY)]
    ['RUNNING_P2P', 'STOP', 'STOP_COPY']
    """
    if target not in set(State) - {State.ERROR}:
        raise NoWay(f"{target} is no state that a device can be told to enter")
    if now == State.ERROR:
        raise NoWay("a device in ERROR has to be reset")
    if (now, target) in FORBIDDEN:
        raise NoWay(f"there is no way from {now.name} to {State(target).name}")
    return _shortest(now, State(target))


def _shortest(now: State, end: State) -> tuple[State, ...]:
    inside = SAVING if {now, end} <= SAVING else frozenset()  # what of the saving group may lie on the way
    before: dict[State, State] = {now: now}
    waiting = deque([now])
    while end not in before:
        state = waiting.popleft()
        if state in SAVING and state != now and state not in inside:
            continue
        fresh = [following for following in ARCS[state] if following not in before]
        before.update(dict.fromkeys(fresh, state))
        waiting.extend(fresh)
    return _back(before, now, end)


def _back(before: dict[State, State], now: State, end: State) -> tuple[State, ...]:
    states: list[State] = []
    while end != now:
        states.insert(0, end)
        end = before[end]
    return tuple(states)
