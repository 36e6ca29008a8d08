"""The controller as the operator sees it: one method a verb, each of them a few lines over the parts that do it."""

import asyncio
import base64
import errno
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from softdpu import __version__
from softdpu.controller import dump, errors, measure, modify, report, saving, seen, uplinks, verbosity, workers
from softdpu.controller.changes import Changes
from softdpu.controller.devices import Device
from softdpu.controller.hosts import Hosts
from softdpu.controller.lifecycle import Lifecycle
from softdpu.controller.limits import PORT_ADDRESSES, Limits
from softdpu.controller.plug import Plugger
from softdpu.controller.pools import Share
from softdpu.controller.requests import (
    SUCCESS,
    DeviceRef,
    Family,
    HostAttach,
    HostDetach,
    Hotplug,
    Json,
    Log,
    ModifyDevice,
    ModifyQueue,
    PowerCycle,
    Query,
    Restore,
    Save,
    SetVfs,
    Stats,
)
from softdpu.controller.update import LiveUpdate

ALL_QUEUES = range(65)
log = logging.getLogger("softdpu")


async def _nothing() -> None:
    """Only leave."""


class Controller:
    """Implements ``softdpu.api.service.Service``.

    ``leave(how)`` ends the process: "stop", "restart", "power-cycle"; ``power()`` makes the firmware's next boot
    current.
    """

    def __init__(
        self,
        life: Lifecycle,
        hosts: Hosts,
        plugger: Plugger,
        limits: Limits,
        leave: Callable[[str], None],
        power: Callable[[], None],
    ) -> None:
        self.life = life
        self.hosts_attached = hosts
        self.plugger = plugger
        self.limits = limits
        self.leave = leave
        self.power = power
        self.live_update = LiveUpdate(life.root)
        self.changes = Changes(self.live_update)
        self._taking_over: asyncio.Task[None] | None = None
        self._following: set[asyncio.Task[None]] = set()
        self._unfollowed: set[int] = set()  # numbers of PFs whose VFs are to be looked at
        life.on_vfs = self.vfs_changed

    # ---- devices

    def find(self, device: DeviceRef) -> Device:
        """The device that the operator named. Raises NoSuchDevice."""
        for candidate in self.life.devices.values():
            record = candidate.record
            if device.vuid is not None and record.vuid == device.vuid:
                return candidate
            if device.vuid is None and (record.pf_id, record.vf_id) == (device.pf, device.vf):
                return candidate
        raise errors.NoSuchDevice(device.name, self._known(device))

    def _known(self, device: DeviceRef) -> list[str]:
        """The devices that there are, for a sentence: the PFs, and of the one that is meant how many VFs it has."""
        physical = [d for d in self.ordered() if d.record.vf_id is None]
        meant = [d.function.enabled_vfs for d in physical if device.vf is not None and d.record.pf_id == device.pf]
        if meant:
            return [f"vf 0 to {meant[0] - 1} of pf {device.pf}" if meant[0] else f"no vf of pf {device.pf}"]
        return [f"pf {d.record.pf_id} ({d.name})" for d in physical]

    def ordered(self) -> list[Device]:
        """All devices by PF and VF."""
        return sorted(
            self.life.devices.values(),
            key=lambda d: (d.record.pf_id, -1 if d.record.vf_id is None else d.record.vf_id),
        )

    def chosen(self, request: Query | ModifyDevice | ModifyQueue) -> list[Device]:
        """The devices that a request is for."""
        return self.ordered() if request.all else [self.find(request)]

    async def hotplug(self, request: Hotplug) -> Json:
        """Plug a new PF."""
        return await self.changes.make("hotplug a device", lambda: self.plugger.hotplug(request))

    async def unplug(self, device: DeviceRef) -> Json:
        """Unplug a hotplug PF."""
        return await self.changes.make("unplug a device", lambda: self.plugger.unplug(self.find(device)))

    async def set_vfs(self, request: SetVfs) -> Json:
        """Have so many VFs of a PF."""
        pf = self.find(DeviceRef(pf=request.pf))
        vfs = self.plugger.vfs
        await self.changes.make(
            "create or destroy VFs", lambda: vfs.set_number(pf, request.num_vfs, force=request.force)
        )
        return {"pf_id": request.pf, "num_vfs": pf.function.enabled_vfs, **SUCCESS}

    def vfs_changed(self, pf: Device) -> None:
        """A host enabled or disabled VFs by its own hand: they come or go in their turn, however often it does that."""
        if pf.number in self._unfollowed:
            return
        self._unfollowed.add(pf.number)
        task = asyncio.get_running_loop().create_task(self._follow_vfs(pf), name=f"VFs of {pf.name}")
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _follow_vfs(self, pf: Device) -> None:
        async def follow() -> None:
            self._unfollowed.discard(pf.number)  # what is enabled from here on is another change
            await self.plugger.vfs.follow(pf)

        try:
            await self.changes.make("create or destroy VFs", follow, of_set=False)
        except errors.OperatorError as error:
            log.error("%s: its VFs are not as its host wants them: %s", pf.name, error)

    async def list_devices(self) -> Json:
        """The controller's limits, and every device."""
        limits = self.limits
        return {
            "controller": report.controller(
                limits.manager, limits.hotplug_devices, limits.devices, limits.devices * limits.queues
            ),
            "devices": [report.device(d, self.life.root, self._parent(d), self._pool(d)) for d in self.ordered()],
        }

    def _pool(self, device: Device) -> Share:
        """What the VFs of a PF can still be given; nothing of a device that has none."""
        return self.plugger.vfs.left(device) if device.function.enabled_vfs else Share(0, 0)

    async def query(self, request: Query) -> Json:
        """Devices in full."""
        queues: Sequence[int] = ALL_QUEUES if request.queue is None else [request.queue]
        shown = [] if request.brief else queues
        link, root = self.life.datapath, self.life.root
        return {
            "devices": [
                report.queried(d, root, self._parent(d), link, shown, self._pool(d)) for d in self.chosen(request)
            ]
        }

    async def stats(self, request: Stats) -> Json:
        """Packet counters of a device's queues."""
        device = self.find(request)
        enabled = report.enabled(device)
        queues = enabled if request.queue_id is None else [request.queue_id]
        if request.queue_id is not None and request.queue_id not in enabled:
            raise errors.OperatorError(
                errno.EINVAL,
                f"queue {request.queue_id} of {device.name} is not enabled: enabled are "
                f"{', '.join(map(str, enabled)) or 'none'}.",
            )
        return {"device": report.stats(device, self.life.datapath, queues)}

    @staticmethod
    def _parent(device: Device) -> str:
        return PORT_ADDRESSES[device.record.port]

    async def modify_device(self, request: ModifyDevice) -> Json:
        """Change properties of one device, or of all of them."""

        async def change() -> None:
            await modify.carry_out(self.life, self.hosts_attached, self.plugger, self.chosen(request), request)

        await self.changes.make("modify a device", change, of_set=False)
        return dict(SUCCESS)

    # ---- states

    async def save(self, request: Save) -> Json:
        """The saved state of a device, base64."""
        device = self.find(request)
        data = await self.changes.make(
            "save a device", lambda: saving.save(self.life, device, stay=request.stop), of_set=False
        )
        return {
            "vuid": device.name,
            "stopped": int(device.stopped),
            "state": base64.b64encode(data).decode(),
            **SUCCESS,
        }

    async def restore(self, request: Restore) -> Json:
        """Put a saved state into a device."""
        device = self.find(request)
        await self.changes.make(
            "restore a device",
            lambda: saving.restore(self.life, device, request.state, stay=request.stop),
            of_set=False,
        )
        return {"vuid": device.name, "stopped": int(device.stopped), **SUCCESS}

    async def resume(self, request: DeviceRef) -> Json:
        """Let a stopped device go on."""
        device = self.find(request)
        await self.changes.make("resume a device", lambda: saving.resume(self.life, device), of_set=False)
        return {"vuid": device.name, **SUCCESS}

    # ---- queues

    async def modify_queue(self, request: ModifyQueue) -> Json:
        """How the queues of one device interrupt, or those of all of them."""

        async def change() -> None:
            await modify.moderate(self.life, self.plugger, self.chosen(request), request)

        await self.changes.make("modify queues", change, of_set=False)
        return dict(SUCCESS)

    # ---- the service itself

    async def log(self, request: Log) -> Json:
        """Set how much is logged."""
        verbosity.keep(self.life.root, request.level)
        return dict(SUCCESS)

    async def version(self) -> Json:
        """The running version, and the one that is installed."""
        return {
            "Original Controller": f"v{__version__}",
            "Destination Controller": f"v{self.live_update.installed_version()}",
        }

    async def update_start(self) -> Json:
        """The installed version takes over, if it can start."""

        async def start() -> None:
            self.live_update.start()

        await self.changes.make("update", start)
        self._taking_over = asyncio.create_task(self._take_over(), name="update")
        return dict(SUCCESS)

    async def _take_over(self) -> None:
        if why := await self.live_update.rehearse():
            log.error("the live update fails, for the installed version cannot start: %s. This one goes on.", why)
            self.live_update.fail()
        else:
            self.leave("restart")

    async def update_status(self) -> Json:
        """How the last live update went."""
        return self.live_update.status()

    async def restart(self) -> Json:
        """A fresh controller takes over."""
        return await self._make_last("restart", "restart")

    async def stop(self) -> Json:
        """Controller and datapath end."""
        return await self._make_last("stop", "stop")

    async def _make_last(self, verb: str, how: str, change: Callable[[], Awaitable[None]] = _nothing) -> Json:
        """The last change of this controller, which leaves after the reply went out."""
        await self.changes.make_last(verb, change)
        asyncio.get_running_loop().call_later(0.1, self.leave, how)
        return dict(SUCCESS)

    async def health(self) -> Json:
        """The service and each device."""
        devices = [
            {
                "vuid": d.name,
                "healthy": int(not d.function.faults),
                "faults": list(d.function.faults),
                "frames": report.ledger_of(d, self.life.link),
            }
            for d in self.ordered()
        ]
        datapath = self.life.link
        return {
            "service": {"healthy": int(datapath is not None), "datapath_pid": datapath.pid if datapath else 0},
            "devices": devices,
            "uplinks": uplinks.listing(self.life),
            "workers": await workers.listing(datapath),
            "hotplug_devices_left": self.plugger.places_left,
            "hosts": await self.hosts_attached.listing(),
        }

    async def power_cycle(self, request: PowerCycle) -> Json:
        """Next boot becomes current; every device goes, static PFs come anew. The process starts afresh for it."""

        async def change() -> None:
            used = [d.name for d in self.ordered() if d.connected]
            if used and not request.force:
                raise errors.OperatorError(
                    errno.EBUSY,
                    f"a power cycle would cut off the hosts that use {', '.join(used)}: shut them down first, "
                    "or add --force.",
                )
            self.power()
            self.plugger.recovery.clear()
            await self.life.destroy_all(self.ordered())

        return await self._make_last("power-cycle", "power-cycle", change)

    # ---- hosts

    async def host_attach(self, request: HostAttach) -> Json:
        """Plug into this QEMU from now on."""
        attached = await self.changes.make(
            "attach a host", lambda: self.hosts_attached.attach(request.qmp, request.name), of_set=False
        )
        return {**attached, **SUCCESS}

    async def host_detach(self, request: HostDetach) -> Json:
        """Forget a host."""
        await self.changes.make("detach a host", lambda: self.hosts_attached.detach(request.name), of_set=False)
        return dict(SUCCESS)

    async def hosts(self) -> Json:
        """Every attached host with its free ports."""
        return {"hosts": await self.hosts_attached.listing()}

    async def functions(self) -> Json:
        """The bus that a simulated host sees."""
        return {"functions": msgspec.to_builtins(seen.functions(self.ordered(), self.life.root))}

    # ---- what explains

    async def explain(self, device: DeviceRef) -> Json:
        """The negotiation, bit by bit."""
        subject = self.find(device)
        return {
            "pf_id": subject.record.pf_id,
            "vuid": subject.name,
            "mode": subject.function.transitional_mode or "none",
            "features": [verdict._asdict() for verdict in subject.function.negotiation],
        }

    async def state(self, device: DeviceRef) -> Json:
        """All that is known of a device."""
        return dump.dump(self.find(device), self.life.datapath)

    async def qemu_arguments(self) -> Json:
        """What plugs the functions into a QEMU by hand."""
        return {"arguments": self._arguments()}

    def _arguments(self) -> list[str]:
        free = [d for d in self.ordered() if d.record.place is None and not d.connected]
        memory: list[str] = [
            "-object",
            "memory-backend-memfd,id=mem,size=1G,share=on",
            "-machine",
            "q35,memory-backend=mem",
        ]
        for device in free:
            memory += measure.qemu_arguments(device, self.life.root)
        return memory

    async def metrics(self) -> Sequence[Family]:
        """Counters of every device."""
        return measure.families(self.ordered(), self.life.datapath, sorted(self.life.uplinks))
