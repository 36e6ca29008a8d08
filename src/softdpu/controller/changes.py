"""Changes that operators ask for: one at a time, each carried to its end or undone, whatever becomes of who asked."""

import asyncio
import contextlib
import errno
from collections.abc import Awaitable, Callable
from typing import TypeVar

from softdpu.controller.errors import Migrating, OperatorError
from softdpu.controller.update import LiveUpdate

T = TypeVar("T")
GRACE = 1.0  # seconds that a change gets when the controller leaves, before it is cancelled and undone


class Leaving(OperatorError):
    """The controller is about to be replaced or to end."""

    def __init__(self, verb: str) -> None:
        super().__init__(
            errno.EAGAIN,
            f"cannot {verb} now: the controller is restarting or ending, and nothing was changed; "
            "try again in a second.",
        )


class Changes:
    """The turn of each change. A change that runs is not cancelled because its HTTP client went away."""

    def __init__(self, live_update: LiveUpdate) -> None:
        self._live_update = live_update
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[object]] = set()
        self._last = False  # the change that ends this controller has been made
        self._closed = False

    async def make(self, verb: str, change: Callable[[], Awaitable[T]], *, of_set: bool = True) -> T:
        """Make a change when its turn comes. ``of_set``: devices or hosts come or go, which a live update forbids.

        Raises what the change raises, Migrating or Leaving.
        """
        self._check(verb, of_set)
        task = asyncio.create_task(self._in_turn(verb, change, of_set), name=verb)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Leaving(verb) from None
            raise

    async def make_last(self, verb: str, change: Callable[[], Awaitable[T]]) -> T:
        """Likewise, and no device comes or goes after it."""

        async def closing() -> T:
            result = await change()
            self._last = True
            return result

        return await self.make(verb, closing)

    async def end(self) -> None:
        """No change begins any more; one that is not done soon is undone. Returns when nothing is under way."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _in_turn(self, verb: str, change: Callable[[], Awaitable[T]], of_set: bool) -> T:
        async with self._turn:
            self._check(verb, of_set)  # what went before may have been the last
            return await change()

    def _check(self, verb: str, of_set: bool) -> None:
        if of_set and self._live_update.running:
            raise Migrating(verb)
        if self._closed or (of_set and self._last):
            raise Leaving(verb)

    def _done(self, task: "asyncio.Task[object]") -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            task.exception()  # told to whoever asked, if they are still there
