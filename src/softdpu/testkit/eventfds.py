"""Eventfds that somebody else writes: interrupts and errors of a device.

>>> with Eventfds(2) as events:
...     os.eventfd_write(events.fds[1], 3)
...     events.fired(0), events.fired(1), events.fired(1)
(0, 3, 0)
"""

import os
import select
from typing import Self


class Eventfds:
    """``count`` eventfds, numbered from 0. Close it to give the descriptors back."""

    def __init__(self, count: int) -> None:
        self.fds = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, number: int = 0, timeout: float = 5.0) -> int:
        """Wait until one is written; how often it was since the last look. Raises TimeoutError."""
        poll = select.poll()  # select(2) knows no descriptor above 1023
        poll.register(self.fds[number], select.POLLIN)
        if not poll.poll(timeout * 1000):
            raise TimeoutError(f"eventfd {number} was not written within {timeout} s")
        return os.eventfd_read(self.fds[number])

    def fired(self, number: int = 0) -> int:
        """How often one was written since the last look, without waiting."""
        try:
            return os.eventfd_read(self.fds[number])
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Close them here; the device's copies go their own way."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []
