"""Waiting for what others do in their own time."""

import time
from collections.abc import Callable

LONGEST = 30.0  # seconds


def until(holds: Callable[[], bool], what: str = "") -> None:
    """Return when the condition holds. Raises AssertionError when it does not in good time."""
    deadline = time.monotonic() + LONGEST
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
