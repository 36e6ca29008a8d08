"""A QEMU machine as the host that functions are plugged into, reached by its QMP socket.

The socket may be absent when the controller starts, and QEMU may end and come back on the same path: the host keeps
trying, and tells its listener. Nothing here blocks the event loop; every command has a time limit.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any

from softdpu.host import topology as pci
from softdpu.host import vhost_user
from softdpu.host.choice import Place, choose
from softdpu.host.errors import (
    DeviceIdTaken,
    FunctionHungUp,
    GuestKeepsDevice,
    HostError,
    HostGone,
    HostRefused,
    HostUnreachable,
    MemoryNotShared,
    NoFreePort,
    NoVfioUser,
    SocketUnreachable,
    UnplugWouldCrash,
)
from softdpu.host.interface import Abilities, Back, Gone, HostEvent, Listener, MigrationCancelled, Placement, Removed
from softdpu.host.migration import MigrationGuard
from softdpu.host.monitor import Monitor
from softdpu.host.quirks import quirk, text
from softdpu.host.wiring import Reach, Wiring
from softdpu.net.state import FunctionConfig
from softdpu.pci.windows import Budget, NoIoWindow, budget, more_may_come

logger = logging.getLogger(__name__)

DRIVER = "vfio-user-pci"
RETRY = 0.5  # seconds between looks for a QEMU that is not there
PLUG_TIMEOUT = 30.0  # seconds: QEMU asks the function some 60 messages, each with a limit of 5 s
BOOT_PATIENCE = 15.0  # seconds for a booting host to number its buses and to give empty ports their I/O windows
PLACES_TO_TRY = 8  # buses that may turn out to take no device before we give up


class QemuHost:
    """A host by the path of its QMP socket; ``name`` is what sentences call it (by default the file's stem)."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = path
        self.name = name or path.stem
        self.boot_patience = BOOT_PATIENCE
        self._monitor: Monitor | None = None
        self._guard: MigrationGuard | None = None
        self._listener: Listener = _nobody
        self._keeper: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self._attaching = asyncio.Lock()
        self._plugging = asyncio.Lock()  # a slot chosen is a slot taken
        self._leaving: dict[str, asyncio.Future[str | None]] = {}
        self._wiring = Wiring(self.name, lambda command, arguments: self._ask(command, **arguments))
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether QEMU is there now."""
        return self._monitor is not None and self._monitor.connected

    @property
    def version(self) -> str | None:
        """QEMU's version, such as "11.1.3"; None while it is not there."""
        return text(self._monitor.version) if self._monitor is not None else None

    async def start(self, listener: Listener) -> None:
        """Begins to keep the connection; what happens is told to ``listener``. Never raises."""
        self._listener = listener
        with contextlib.suppress(HostError):
            await self.attach()
        self._keeper = asyncio.create_task(self._keep(), name=f"host {self.name}")

    async def attach(self) -> None:
        """Connects now, if not connected. Raises HostUnreachable or what the first questions meet."""
        async with self._attaching:
            if not self.connected:
                await self._attach()

    async def close(self) -> None:
        """Leaves QEMU and its devices as they are."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        if self._guard is not None:
            await self._guard.close()
        if self._monitor is not None:
            await self._monitor.close()
        self._monitor = self._guard = self._keeper = None

    async def check(self) -> None:
        """Whether this QEMU can have functions. Raises MemoryNotShared."""
        private = [b.get("id") or "without a name" for b in await self._ask("query-memdev") if not b.get("share")]
        if private:
            raise MemoryNotShared(self.name, tuple(private))

    async def abilities(self) -> Abilities:
        """What this QEMU can do with a function."""
        try:
            await self._ask("device-list-properties", typename=DRIVER)
            able = True
        except HostRefused:
            able = False
        assert self._monitor is not None
        version = self._monitor.version
        emulated = not (await self._ask("query-kvm"))["enabled"]
        return Abilities(
            version=text(version),
            vfio_user=able,
            unplug_aborts=quirk("unplug with MSI-X aborts", version) is not None,
            vhost_msix_crashes=emulated and quirk("vhost-user with MSI-X crashes without KVM", version) is not None,
        )

    async def plug(self, socket: Path, device_id: str, *, transitional: bool, vectors: int) -> Placement:
        """Plugs the function that is served on ``socket`` (it must listen); returns when the guest can see it.

        Raises NoIoWindow or a HostError; nothing is left in QEMU then, except after HostBlocked.
        """
        arguments = {"driver": DRIVER, "socket": {"type": "unix", "path": str(socket)}}
        await self.check()
        if not (abilities := await self.abilities()).vfio_user:
            raise NoVfioUser(self.name, abilities.version)
        try:
            place = await self.add(device_id, arguments, transitional=transitional)
        except HostRefused as error:
            raise _talk_failed(error, socket) from error
        await self._guard_migration()
        caution = self._unplug_trap(device_id, vectors)
        bdf = await self.address(device_id)
        return Placement(place.bus, place.slot, bdf, str(caution) if caution else None)

    async def plug_back_end(
        self,
        socket: Path,
        device_id: str,
        config: FunctionConfig,
        reach: Reach | None = None,
        *,
        bus: str | None = None,
    ) -> Placement:
        """Plugs a function of QEMU's own whose vhost-user back end listens at ``socket``; returns as `plug` does.

        With ``reach`` QEMU listens there itself, and that connects the back end to it. ``bus`` is taken if it is free.
        """
        await self.check()
        assert self._monitor is not None
        await self._wiring.lay(device_id, socket, config, self._monitor.version, reach)
        transitional = config.layout != "modern"
        try:
            driver = vhost_user.DRIVERS["transitional" if transitional else "modern"]
            known = {entry["name"] for entry in await self._ask("device-list-properties", typename=driver)}
            arguments = vhost_user.device(device_id, config, known)
            place = await self.add(device_id, arguments, transitional=transitional, bus=bus)
            if not config.link_up:
                await self.set_link(device_id, up=False)
        except BaseException:
            await self._wiring.take_up(device_id)
            raise
        return Placement(place.bus, place.slot, await self.address(device_id))

    async def set_link(self, device_id: str, *, up: bool) -> None:
        """The link that a function of QEMU's own shows to its driver."""
        await self._ask("set_link", name=device_id, up=up)

    async def choose(self, *, transitional: bool, without: frozenset[str] = frozenset()) -> Place:
        """The place that the next device would get. Raises NoIoWindow, NoFreePort or another HostError.

        Before it refuses, waits a while for a host that may be about to number its buses or to open windows.
        """
        deadline = asyncio.get_running_loop().time() + self.boot_patience
        while True:
            topology = await self.topology()
            try:
                return choose(self.name, topology, transitional=transitional, without=without)
            except (NoIoWindow, NoFreePort):
                booting = topology.foreseen or (transitional and more_may_come(topology.bridges))
                if not booting or asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(RETRY)

    async def add(
        self, device_id: str, arguments: Mapping[str, object], *, transitional: bool, bus: str | None = None
    ) -> Place:
        """Adds any device of QEMU's at the best place, which is on ``bus`` if that is free.

        Raises NoIoWindow, DeviceIdTaken or another HostError.
        """
        async with self._plugging:
            refusing: set[str] = set()
            while True:
                topology, without = await self.topology(), frozenset(refusing)
                place = choose(self.name, topology, transitional=transitional, without=without, wanted=bus)
                try:
                    await self._add_at(place, device_id, arguments)
                except HostRefused as error:
                    if not _place_is_to_blame(error) or len(refusing) == PLACES_TO_TRY:
                        raise
                    refusing.add(place.bus)
                else:
                    return place

    async def unplug(self, device_id: str, *, vectors: int, timeout: float = 30.0) -> None:
        """Returns when the guest has released the device and QEMU has forgotten it.

        A device that is not there, or whose QEMU ends, is out. Raises UnplugWouldCrash, GuestKeepsDevice or another
        HostError.
        """
        driver = (await self._peripherals()).get(device_id)
        if driver is None:
            return
        if driver == DRIVER and (refusal := self._unplug_trap(device_id, vectors)):
            raise refusal
        left = asyncio.get_running_loop().create_future()
        self._leaving[device_id] = left
        try:
            await self._delete(device_id, left, timeout)
        finally:
            self._leaving.pop(device_id, None)
        if driver == DRIVER:
            await self._guard_migration()
        else:
            await self._wiring.take_up(device_id)

    async def address(self, device_id: str) -> str | None:
        """The guest's address of a device, such as "01:00.0"; None while the guest has given it none."""
        return pci.address(await self._ask("query-pci"), device_id)

    async def devices(self) -> tuple[str, ...]:
        """Ids of the devices that the machine has and that may be ours."""
        return _ours(await self._ask("qom-list", path="/machine/peripheral"))

    async def topology(self) -> pci.Topology:
        """Buses that take devices, as the guest has set them up now."""
        answer = await self._ask("query-pci")
        properties = {name: await self._properties(name) for name in pci.bridge_ids(answer)}
        return pci.topology(answer, properties.__getitem__)

    async def budget(self) -> Budget:
        """I/O windows for transitional functions."""
        return (await self.outlook())[0]

    async def outlook(self) -> tuple[Budget, Place | None]:
        """I/O windows for transitional functions, and the place that the next one would get now."""
        topology = await self.topology()
        try:
            place = choose(self.name, topology, transitional=True)
        except (NoIoWindow, NoFreePort):
            place = None
        return budget(topology.bridges), place

    # ---- connection

    async def _attach(self) -> None:
        if self._monitor is not None:
            self._forget(self._monitor)
        monitor = Monitor(self.name, self.path, self._on_event, self._forget)
        await monitor.connect()
        guard = MigrationGuard(monitor, self._on_migration_cancelled)
        try:
            peripherals = await monitor.execute("qom-list", {"path": "/machine/peripheral"})
            found = _ours(peripherals)
            await guard.watch(_of(peripherals, DRIVER))
        except HostError:
            await monitor.close()
            raise
        self._gone.clear()
        self._monitor, self._guard = monitor, guard
        self._tell(Back(found))

    async def _keep(self) -> None:
        while True:
            if self.connected:
                await self._gone.wait()
            await asyncio.sleep(RETRY)
            try:
                await self.attach()
            except HostUnreachable as error:
                logger.debug("%s", error)
            except HostError as error:
                logger.warning("%s", error)

    def _forget(self, monitor: Monitor) -> None:
        """That session has ended: told once, and before any other session begins."""
        if monitor is not self._monitor:
            return
        self._monitor = self._guard = None
        self._gone.set()
        for left in self._leaving.values():
            _resolve(left, None)
        self._tell(Gone())

    async def _ask(self, command: str, **arguments: object) -> Any:
        if not self.connected:
            await self.attach()
        assert self._monitor is not None
        return await self._monitor.execute(command, arguments)

    # ---- events

    def _on_event(self, event: str, data: Mapping[str, Any]) -> None:
        device = data.get("device")
        if event == "DEVICE_DELETED" and isinstance(device, str):
            self._on_deleted(device)
        elif event == "DEVICE_UNPLUG_GUEST_ERROR" and device in self._leaving:
            _resolve(self._leaving[device], "it refused to release it")
        elif event == "MIGRATION" and self._guard is not None:
            self._guard.on_status(str(data.get("status")))

    def _on_deleted(self, device_id: str) -> None:
        if left := self._leaving.get(device_id):
            _resolve(left, None)
        else:
            self._later(self._wiring.take_up(device_id))
            self._tell(Removed(device_id))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_migration_cancelled(self, sentence: str) -> None:
        self._tell(MigrationCancelled(sentence))

    def _tell(self, event: HostEvent) -> None:
        try:
            self._listener(event)
        except Exception:
            logger.exception("the listener of host %s failed on %s", self.name, event)  # the session must go on

    # ---- steps

    async def _peripherals(self) -> dict[str, str]:
        """The driver of each device with an id; none when QEMU has ended."""
        try:
            peripherals = await self._ask("qom-list", path="/machine/peripheral")
        except HostGone:
            return {}
        except HostUnreachable as error:
            if error.ended:
                return {}
            raise
        return {entry["name"]: _driver(entry) for entry in peripherals}

    async def _properties(self, bridge: str) -> pci.Properties:
        hotplug = await self._property(bridge, "hotplug")
        return pci.Properties(hotplug is not False, await self._property(bridge, "io-reserve"))

    async def _property(self, device_id: str, name: str) -> Any:
        try:
            return await self._ask("qom-get", path=f"/machine/peripheral/{device_id}", property=name)
        except HostRefused:
            return None  # this kind of bridge has no such property

    async def _add_at(self, place: Place, device_id: str, arguments: Mapping[str, object]) -> None:
        assert self._monitor is not None
        where = {"id": device_id, "bus": place.bus, "addr": f"{place.slot:#x}"}
        try:
            await self._monitor.execute("device_add", {**arguments, **where}, PLUG_TIMEOUT)
        except HostRefused as error:
            if "Duplicate" in error.description:
                raise DeviceIdTaken(self.name, device_id) from error
            raise

    async def _delete(self, device_id: str, left: "asyncio.Future[str | None]", timeout: float) -> None:
        try:
            await self._ask("device_del", id=device_id)
            async with asyncio.timeout(timeout):
                refusal = await left
        except HostGone:
            return
        except HostRefused as error:
            if error.kind == "DeviceNotFound":
                return
            raise
        except TimeoutError as error:
            raise GuestKeepsDevice(self.name, device_id, f"it did not release it within {timeout:g} s") from error
        if refusal:
            raise GuestKeepsDevice(self.name, device_id, refusal)

    def _unplug_trap(self, device_id: str, vectors: int) -> UnplugWouldCrash | None:
        if not vectors or self._monitor is None or not self.connected:
            return None
        row = quirk("unplug with MSI-X aborts", self._monitor.version)
        if row is None:
            return None
        return UnplugWouldCrash(self.name, device_id, self.version or "", row.reason, row.cure)

    async def _guard_migration(self) -> None:
        if self._guard is not None and self.connected:
            await self._guard.watch(_of(await self._ask("qom-list", path="/machine/peripheral"), DRIVER))


def _talk_failed(error: HostRefused, socket: Path) -> HostError:
    """What a refusal of a vfio-user device means, if its connection is what failed."""
    if "Failed to connect" in error.description:
        return SocketUnreachable(error.host, socket, error.description)
    if "vfio-user:" in error.description:
        return FunctionHungUp(error.host, socket, error.description.rpartition("vfio-user:")[2].partition(": ")[2])
    return error


def _ours(peripherals: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    return _of(peripherals, DRIVER, *vhost_user.DRIVERS.values())


def _of(peripherals: Iterable[Mapping[str, str]], *drivers: str) -> tuple[str, ...]:
    return tuple(sorted(entry["name"] for entry in peripherals if _driver(entry) in drivers))


def _driver(entry: Mapping[str, str]) -> str:
    return entry["type"].removeprefix("child<").removesuffix(">")


def _place_is_to_blame(error: HostRefused) -> bool:
    causes = ("does not support hotplugging", "in use by", "not available", "already occupied", "Unsupported PCI slot")
    return any(cause in error.description for cause in causes)


def _resolve(future: "asyncio.Future[str | None]", value: str | None) -> None:
    if not future.done():
        future.set_result(value)


def _nobody(event: object) -> None:
    """Listens to nothing."""
