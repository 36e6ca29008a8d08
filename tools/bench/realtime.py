"""Scheduling before others, so that nobody else shows in a figure: real-time for a short window, or by weight."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HOT, WATCHING = 1, 2  # priorities: who measures must still get a core
FAVOUR = -15  # nice


@contextmanager
def realtime(hot: Sequence[int], watching: Sequence[int] = ()) -> Iterator[None]:
    """Threads ``hot`` before all others, but behind this process's own and those of processes ``watching``."""
    own = [thread for process in (os.getpid(), *watching) for thread in threads_of(process)]
    threads = dict.fromkeys(own, WATCHING) | dict.fromkeys(hot, HOT)
    try:
        for thread, priority in threads.items():
            os.sched_setscheduler(thread, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
        yield
    finally:
        for thread in threads:
            os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def favoured(*processes: int) -> Iterator[None]:
    """Processes, this one, and what they start, before others by weight. Others than this are not put back."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        for process in (os.getpid(), *processes):
            _weigh(process, FAVOUR)
        yield
    finally:
        _weigh(os.getpid(), before)


def _weigh(process: int, nice: int) -> None:
    for thread in threads_of(process):
        os.setpriority(os.PRIO_PROCESS, thread, nice)
    # Where the kernel groups processes by session, it is the group's weight that counts.
    group = Path(f"/proc/{process}/autogroup")
    if group.exists():
        group.write_text(str(nice))


def threads_of(process: int) -> list[int]:
    """Its thread ids."""
    return [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]
