"""The controller as the operator sees it: one method a verb, each of them a few lines over the parts that do it."""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from softdpu import __version__
from softdpu.controller import errors, measure, modify, report
from softdpu.controller.devices import Device
from softdpu.controller.hosts import Hosts
from softdpu.controller.lifecycle import Lifecycle
from softdpu.controller.limits import PORT_ADDRESSES, Limits
from softdpu.controller.plug import Plugger
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
    Stats,
)
from softdpu.controller.update import LiveUpdate

LEVELS = {"info": logging.INFO, "err": logging.ERROR, "debug": logging.DEBUG}
ALL_QUEUES = range(65)
log = logging.getLogger("softdpu.service")


class Controller:
    """Implements ``softdpu.api.service.Service``. ``leave(how)`` ends the process: "stop", "restart"."""

    def __init__(
        self, life: Lifecycle, hosts: Hosts, plugger: Plugger, limits: Limits, leave: Callable[[str], None]
    ) -> None:
        self.life = life
        self.hosts_attached = hosts
        self.plugger = plugger
        self.limits = limits
        self.leave = leave
        self.live_update = LiveUpdate(life.root)
        self.boot: Callable[[], AsyncIterator[None]] | None = None
        self._changing = asyncio.Lock()

    @asynccontextmanager
    async def changing(self, verb: str) -> AsyncIterator[None]:
        """One change of the set of devices at a time, and none while a new version takes over."""
        if self.live_update.running:
            raise errors.Migrating(verb)
        async with self._changing:
            yield

    # ---- devices

    def find(self, device: DeviceRef) -> Device:
        """The device that the operator named. Raises NoSuchDevice."""
        for candidate in self.life.devices.values():
            record = candidate.record
            if device.vuid is not None and record.vuid == device.vuid:
                return candidate
            if device.vuid is None and (record.pf_id, record.vf_id) == (device.pf, device.vf):
                return candidate
        raise errors.NoSuchDevice(device.name, (f"pf {d.record.pf_id} ({d.name})" for d in self.ordered()))

    def ordered(self) -> list[Device]:
        """All devices by PF and VF."""
        return sorted(self.life.devices.values(), key=lambda d: (d.record.pf_id, d.record.vf_id or -1))

    def chosen(self, request: Query | ModifyDevice | ModifyQueue) -> list[Device]:
        """The devices that a request is for."""
        return self.ordered() if request.all else [self.find(request)]

    async def hotplug(self, request: Hotplug) -> Json:
        """Plug a new PF."""
        async with self.changing("hotplug a device"):
            return await self.plugger.hotplug(request)

    async def unplug(self, device: DeviceRef) -> Json:
        """Unplug a hotplug PF."""
        async with self.changing("unplug a device"):
            return await self.plugger.unplug(self.find(device))

    async def list_devices(self) -> Json:
        """The controller's limits, and every device."""
        limits = self.limits
        return {
            "controller": report.controller(
                limits.manager, limits.hotplug_devices, limits.devices, limits.devices * limits.queues
            ),
            "devices": [report.device(d, self.life.root, self._parent(d)) for d in self.ordered()],
        }

    async def query(self, request: Query) -> Json:
        """Devices in full."""
        queues: Sequence[int] = ALL_QUEUES if request.queue is None else [request.queue]
        shown = [] if request.brief else queues
        link, root = self.life.datapath, self.life.root
        return {"devices": [report.queried(d, root, self._parent(d), link, shown) for d in self.chosen(request)]}

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
        async with self.changing("modify a device"):
            for device in self.chosen(request):
                effects = modify.apply(device, request)
                await self.life.update(device, effects)
                if request.mtu is not None:
                    await self.life.follow_mtu(device)
                if request.link is not None:
                    await self.life.follow_link(device)
                self.plugger.recovery.write(device)
        return dict(SUCCESS)

    async def modify_queue(self, request: ModifyQueue) -> Json:
        """Interrupt moderation: the device does not offer it yet."""
        names = ", ".join(device.name for device in self.chosen(request))
        raise errors.NotSupported(
            f"interrupt moderation of {names or 'no device'}", "no queue of this device coalesces interrupts by time."
        )

    # ---- the service itself

    async def log(self, request: Log) -> Json:
        """Set how much is logged."""
        logging.getLogger("softdpu").setLevel(LEVELS[request.level])
        return dict(SUCCESS)

    async def version(self) -> Json:
        """The running version, and the one that is installed."""
        return {
            "Original Controller": f"v{__version__}",
            "Destination Controller": f"v{self.live_update.installed_version()}",
        }

    async def update_start(self) -> Json:
        """The installed version takes over."""
        self.live_update.start()
        self._leave_soon("restart")
        return dict(SUCCESS)

    async def update_status(self) -> Json:
        """How the last live update went."""
        return self.live_update.status()

    async def restart(self) -> Json:
        """A fresh controller takes over."""
        self._leave_soon("restart")
        return dict(SUCCESS)

    async def stop(self) -> Json:
        """Controller and datapath end."""
        self._leave_soon("stop")
        return dict(SUCCESS)

    def _leave_soon(self, how: str) -> None:
        """After the reply went out."""
        asyncio.get_running_loop().call_later(0.1, self.leave, how)

    async def health(self) -> Json:
        """The service and each device."""
        devices = [
            {"vuid": d.name, "healthy": int(not d.function.faults), "faults": list(d.function.faults)}
            for d in self.ordered()
        ]
        datapath = self.life.link
        return {
            "service": {"healthy": int(datapath is not None), "datapath_pid": datapath.pid if datapath else 0},
            "devices": devices,
        }

    async def power_cycle(self, request: PowerCycle) -> Json:
        """Next boot becomes current; every device goes, static PFs come anew. The process starts afresh for it."""
        async with self.changing("power-cycle"):
            used = [d.name for d in self.ordered() if d.connected]
            if used and not request.force:
                raise errors.OperatorError(
                    errno.EBUSY,
                    f"a power cycle would cut off the hosts that use {', '.join(used)}: shut them down first, "
                    "or add --force.",
                )
            for device in self.ordered():
                await self.life.destroy(device)
                self.plugger.recovery.remove(device.name)
        self._leave_soon("power-cycle")
        return dict(SUCCESS)

    # ---- hosts

    async def host_attach(self, request: HostAttach) -> Json:
        """Plug into this QEMU from now on."""
        async with self._changing:
            return {**await self.hosts_attached.attach(request.qmp, request.name), **SUCCESS}

    async def host_detach(self, request: HostDetach) -> Json:
        """Forget a host."""
        async with self._changing:
            await self.hosts_attached.detach(request.name)
        return dict(SUCCESS)

    async def hosts(self) -> Json:
        """Every attached host with its free ports."""
        return {"hosts": await self.hosts_attached.listing()}

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
            memory += ["-device", measure.vfio_user_device(device, self.life.root)]
        return memory

    async def metrics(self) -> Sequence[Family]:
        """Counters of every device."""
        return measure.families(self.ordered(), self.life.datapath)
