"""One bar for whatever takes longer than a moment; plain lines where no one watches a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

Advance = Callable[[int], None]
"""Takes the amount done so far."""

_QUIET_SECONDS = 10.0


def say(text: str) -> None:
    """One line on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def bar(title: str, total: int, *, is_bytes: bool = False) -> Iterator[Advance]:
    """Shows how much of `total` is done while the block runs, and how long it took at its end."""
    shown = _terminal(title, total, is_bytes) if sys.stderr.isatty() else _lines(title, total)
    with shown as advance:
        yield advance


@contextmanager
def _terminal(title: str, total: int, is_bytes: bool) -> Iterator[Advance]:
    amount = DownloadColumn() if is_bytes else TextColumn("{task.completed}/{task.total}")
    columns = (TextColumn("{task.description:<34}"), BarColumn(), amount, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total or None)
        yield lambda done: progress.update(task, completed=done)
        progress.update(task, total=total or 1, completed=total or 1)


@contextmanager
def _lines(title: str, total: int) -> Iterator[Advance]:
    started = spoke = time.monotonic()

    def advance(done: int) -> None:
        nonlocal spoke
        if total and time.monotonic() - spoke > _QUIET_SECONDS:
            spoke = time.monotonic()
            say(f"{title}: {100 * done // total}%")

    yield advance
    say(f"{title}: done in {time.monotonic() - started:.1f} s")
