"""Keeps a QEMU from migrating without its functions: what it would lose is told, and the migration cancelled."""

import asyncio
import logging
from collections.abc import Callable

from softdpu.host.errors import HostError
from softdpu.host.monitor import Monitor
from softdpu.host.quirks import quirk

logger = logging.getLogger(__name__)

UNDER_WAY = frozenset({"setup", "wait-unplug", "active", "pre-switchover", "device"})


class MigrationGuard:
    """Watches one QEMU's migrations; ``on_cancelled(sentence)`` is called in the event loop.

    While functions are plugged in, QEMU is told to wait before the switchover, so that no migration can be over before
    its first event has reached us.
    """

    def __init__(self, monitor: Monitor, on_cancelled: Callable[[str], None]) -> None:
        self._monitor = monitor
        self._on_cancelled = on_cancelled
        self._devices: tuple[str, ...] = ()
        self._cancelling: asyncio.Task[None] | None = None
        self._pausing = False

    async def watch(self, devices: tuple[str, ...]) -> None:
        """The functions that are plugged in now. Raises a HostError when QEMU does not answer."""
        self._devices = devices if quirk("migration loses the device", self._monitor.version) else ()
        if bool(self._devices) != self._pausing:
            await self._set_pausing(bool(self._devices))

    def on_status(self, status: str) -> None:
        """Takes the news of a MIGRATION event."""
        running = self._cancelling is not None and not self._cancelling.done()
        if self._devices and status in UNDER_WAY and not running:
            self._cancelling = asyncio.create_task(self._cancel())

    async def close(self) -> None:
        """Ends what is under way."""
        if self._cancelling is not None:
            self._cancelling.cancel()
            await asyncio.gather(self._cancelling, return_exceptions=True)

    async def _set_pausing(self, on: bool) -> None:
        capabilities = [
            {"capability": "events", "state": True},
            {"capability": "pause-before-switchover", "state": on},
        ]
        try:
            await self._monitor.execute("migrate-set-capabilities", {"capabilities": capabilities})
            self._pausing = on
        except HostError as error:
            # It refuses while a migration is under way: that one is cancelled all the same when it tells its status.
            logger.warning("migrations of host %s cannot be guarded: %s", self._monitor.host, error)
            await self._cancel_if_under_way()

    async def _cancel_if_under_way(self) -> None:
        status = (await self._monitor.execute("query-migrate")).get("status", "none")
        self.on_status(str(status))

    async def _cancel(self) -> None:
        row = quirk("migration loses the device", self._monitor.version)
        assert row is not None
        try:
            await self._monitor.execute("migrate_cancel")
        except HostError as error:
            logger.error("a migration could not be cancelled: %s", error)
            return
        self._on_cancelled(
            f"the migration of host {self._monitor.host} was cancelled because of {', '.join(self._devices)}: "
            f"QEMU {'.'.join(map(str, self._monitor.version))} would lose it, for {row.reason}. {row.cure}"
        )
