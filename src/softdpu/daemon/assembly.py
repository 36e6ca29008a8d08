"""The parts of a controller put together, started and ended in order."""

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine, Iterable

from softdpu.api import server as http
from softdpu.api.service import Service
from softdpu.controller import configuration, errors, identity, saving
from softdpu.controller.connectors import Connectors
from softdpu.controller.devices import Device
from softdpu.controller.hosts import Hosts
from softdpu.controller.lifecycle import Lifecycle
from softdpu.controller.limits import Limits
from softdpu.controller.plug import Plugger
from softdpu.controller.recovery import Recovery
from softdpu.controller.root import Root
from softdpu.controller.service import Controller
from softdpu.controller.uplinks import Uplinks
from softdpu.datapath import process
from softdpu.datapath.client import DatapathError, DatapathLink, Request
from softdpu.datapath.messages import Answer, Destroy, Event, Shutdown
from softdpu.fabric import representor as representors
from softdpu.fabric.errors import FabricError
from softdpu.fabric.masters import Masters
from softdpu.firmware import Firmware
from softdpu.firmware.rules import contradictions, scalable_function_shortage

log = logging.getLogger("softdpu")
FAILURES = (process.DatapathUnavailable, DatapathError, FabricError, OSError)
TRIES = 4
REST = (
    0.5  # seconds between the end of a datapath and a fresh start, so that one that cannot live is not started in a row
)


class Assembly:
    """One controller of one root."""

    def __init__(self, root: Root, netns: str | None, leave: Callable[[str], None]) -> None:
        self.root = root
        self.leave = leave
        self.firmware = Firmware.load(root.path)
        if not self.firmware.current["VIRTIO_NET_EMULATION_ENABLE"]:
            raise errors.EmulationDisabled
        self.configuration = _configuration(root, self.firmware)
        ports = {name: port for port, name in enumerate(self.configuration.ib_devices)}
        self.limits = Limits(
            self.firmware.current,
            ports,
            _static_port(self.configuration),
            self.configuration.mrg_rxbuf,
            self.configuration.packed_vq,
            self.configuration.lm_prov == "kernel",
        )
        self.life = Lifecycle(root, netns)
        self.connectors = Connectors(self.life)
        self.hosts = Hosts(root, self.life, self.connectors)
        recovery = Recovery(root.recovery, self.configuration.recovery)
        settings = self.configuration
        self.plugger = Plugger(
            self.life, self.hosts, self.connectors, self.limits, recovery, settings.export, settings.vf
        )
        self.controller = Controller(self.life, self.hosts, self.plugger, self.limits, leave, self.firmware.power_cycle)
        self.service: Service = self.controller
        self.uplinks = Uplinks(self.life, self.configuration.uplinks, self.configuration.flooding)
        self.masters = Masters(netns, self._master_changed, self._interfaces_touched)
        self.server: http.Server | None = None
        self.datapath_pid = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Join the datapath first: guests may wait for answers."""
        await self._clear_away()
        await self._join()
        taken_over = list(self.life.devices.values())
        await self.plugger.bring_up(self.configuration.static_pf.mac_base, self.configuration.static_pf.features or 0)
        await self.masters.start()
        await self.uplinks.start()
        await self._follow_masters(taken_over)
        await self.hosts.start()
        for device in self.life.devices.values():
            self.connectors.keep(device)
        self.server = await http.start(self.service, self.root.api)
        self._finish_update()
        if shortage := scalable_function_shortage(self.firmware.current):
            log.warning("%s", shortage)
        for sentence in contradictions(self.firmware.current, self.limits.vf_legacy):
            log.warning("%s", sentence)
        log.info("serving the root %s: %d devices", self.root.path, len(self.life.devices))

    async def _follow_masters(self, devices: Iterable[Device]) -> None:
        """A representor may have joined or left a bridge while nobody was there to see."""
        for device in devices:
            name = device.record.representor
            await self.life.set_fabric(name, on=not self.masters.enslaved(name), moved=False)

    def _finish_update(self) -> None:
        try:
            self.controller.live_update.finish()
        except errors.OperatorError as error:
            log.error("%s", error)

    async def _clear_away(self) -> None:
        """A datapath that was killed with its controller: its representors go all at once, not one after the other."""
        if not (pid := process.ending(self.root.datapath)):
            return
        files = self.plugger.recovery.read_all().values()
        names = [identity.representor_name(file.pf_num, file.sf_num) for file in files]
        try:
            await representors.delete_all(names, self.life.netns)
        except FabricError as error:
            log.warning("%s", error)
        await process.ended(pid)

    async def _join(self) -> None:
        """Join the datapath that runs, or start one. One that is just ending takes its time with many functions."""
        for _ in range(TRIES):
            try:
                return await self._try_to_join()
            except DatapathError as error:
                if error.errno != errno.ECONNRESET:
                    raise
                log.info("%s", error)
            await asyncio.sleep(REST)
        return await self._try_to_join()

    async def _try_to_join(self) -> None:
        socket, fresh = await process.join(self.root.datapath, self.root.datapath_log, self._workers())
        link = DatapathLink(socket, self._answer, self._datapath_gone, self.life.negotiated)
        try:
            attached = await link.attach()
        except DatapathError:
            link.close()
            if fresh:
                process.remove(self.root.datapath)
            raise
        self.life.link = link
        taps = link.representors
        strangers = [f.function for f in attached if not self.life.adopt(f, taps.pop(f.function, None))]
        link.serve()
        self.datapath_pid = link.pid
        for function in strangers:
            await link.ask(Destroy(link.ticket(), function))
        await self.life.look_up_representors()
        await saving.let_go_of_held(self.life)
        log.info("datapath %d %s, %d functions", link.pid, "started" if fresh else "joined", len(attached))

    def _workers(self) -> list[str]:
        """What a new datapath is told of its worker threads."""
        cores = self.configuration.worker_cores
        return ["--worker-cores", ",".join(map(str, cores))] if cores else []

    def _answer(self, request: Request) -> Answer | None:
        answer = self.life.answer(request)
        if isinstance(request, Event) and request.kind == "connected":
            device = self.life.devices.get(request.function)
            if device is not None and not device.function.state.config.link_up:
                self._later(self.hosts.show_link(device))  # QEMU takes the link up whenever it has connected
        return answer

    def _datapath_gone(self) -> None:
        """It never ends by itself while a controller is there."""
        cut_off = [d.name for d in self.life.devices.values() if d.connected and d.export == "vfio-user"]
        lost = f"; a guest that used {', '.join(cut_off)} over vfio-user must be restarted" if cut_off else ""
        log.error("the datapath has gone: a new one gets all functions%s.", lost)
        self.life.link = None
        self._later(self._replace_datapath())

    async def _replace_datapath(self) -> None:
        """A new datapath serves what the former one did. Where that fails, a fresh controller makes everything anew."""
        await asyncio.sleep(REST)
        try:
            await self.controller.changes.make("replace the datapath", self._give_back, of_set=False)
        except (*FAILURES, errors.OperatorError) as error:
            log.error("the functions cannot be given to a new datapath: %s", error)
            self.leave("restart")

    async def _give_back(self) -> None:
        await process.ended(self.datapath_pid)
        await self._join()
        for device in list(self.life.devices.values()):
            await self.life.give_back(device)
        await self.plugger.vfs.follow_all()  # a PF that was in use has been reset
        self.life.uplinks.clear()
        await self.uplinks.start()
        await self._follow_masters(list(self.life.devices.values()))

    def _master_changed(self, name: str, enslaved: bool) -> None:
        self._later(self.life.set_fabric(name, on=not enslaved))

    def _interfaces_touched(self, names: set[str]) -> None:
        if names & {wanted.interface for wanted in self.configuration.uplinks.values()}:
            self._later(self.uplinks.follow(*names))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self, how: str) -> None:
        """Leave; the datapath goes too when it was told to, or when nobody uses it."""
        await self.controller.changes.end()
        if self.server is not None:
            await self.server.stop()
        await self.connectors.close()
        await self.hosts.close()
        await self.masters.stop()
        await self._end_tasks()
        link = self.life.link
        used = [d.name for d in self.life.devices.values() if d.connected]
        if link is None:
            if self.datapath_pid:
                await process.ended(self.datapath_pid)
        elif how == "stop" or (how == "leave" and not used):
            await self._shut_down(link)
        elif how == "leave":
            log.info("leaving; the datapath (pid %d) serves on: %s. softdpu stop ends it.", link.pid, ", ".join(used))
        if link is not None:
            link.close()

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _shut_down(self, link: DatapathLink) -> None:
        """End the datapath, and what would point to it."""
        try:
            await link.ask(Shutdown(link.ticket()))
        except DatapathError as error:
            log.warning("%s", error)
        await process.ended(link.pid)
        for device in self.life.devices.values():
            device.let_go()
        self.life.devices.clear()
        self.life.sweep(["sock"])  # the guests may be there still when the devices come back
        process.remove(self.root.datapath)


def _static_port(chosen: configuration.Configuration) -> str:
    """The ib device of the static PFs: the one configured, where it exists."""
    there = chosen.ib_devices
    return chosen.ib_dev_for_static_pf if chosen.ib_dev_for_static_pf in there else there[0]


def _configuration(root: Root, firmware: Firmware) -> configuration.Configuration:
    """virtnet.conf; what is wrong in it is named in the log and has its default."""
    reading = configuration.read(root.configuration, firmware.current["VIRTIO_NET_EMULATION_NUM_VF"])
    for mistake in reading.mistakes:
        log.error("%s: %s", root.configuration, mistake)
    for warning in reading.warnings:
        log.warning("%s: %s", root.configuration, warning)
    return reading.configuration
