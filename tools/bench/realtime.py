"""Real-time scheduling for a short window, so that nobody else's work shows in a figure."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HOT, WATCHING = 1, 2  # priorities: who measures must still get a core


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


def threads_of(process: int) -> list[int]:
    """Its thread ids."""
    return [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]
