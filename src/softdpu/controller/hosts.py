"""The hosts that the operator attached: QEMU machines into which the DPU plugs its functions."""

import asyncio
import errno
import logging
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from softdpu.controller import durable, identity
from softdpu.controller.connectors import Connectors
from softdpu.controller.devices import Device, Place
from softdpu.controller.errors import OperatorError
from softdpu.controller.lifecycle import Lifecycle
from softdpu.controller.peers import is_qemu
from softdpu.controller.requests import HostAttach
from softdpu.controller.root import Root
from softdpu.host.errors import HostError
from softdpu.host.interface import Abilities, Back, Gone, HostEvent, MigrationCancelled, Placement, Removed
from softdpu.host.qemu import QemuHost
from softdpu.pci.windows import NoIoWindow

log = logging.getLogger("softdpu.hosts")


class Hosts:
    """Attached hosts by name; remembered in a file, so that a controller that starts anew finds them."""

    def __init__(self, root: Root, life: Lifecycle, connectors: Connectors) -> None:
        self._root = root
        self._file = root.hosts
        self._life = life
        self._connectors = connectors
        self._hosts: dict[str, QemuHost] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- coming and going

    async def start(self) -> None:
        """Attach again what was attached before; one that is not there now is looked for until it is detached."""
        hosts = [QemuHost(Path(qmp), name) for name, qmp in self._remembered().items()]
        await asyncio.gather(*(self._keep(host) for host in hosts))

    async def attach(self, qmp: str, name: str | None) -> dict[str, Any]:
        """Connect to a QEMU. Raises OperatorError when it is not there or cannot take our devices."""
        if (known := self._at(qmp)) is not None:
            return await self._attach_again(known, name)
        name = name or f"host{identity.lowest_free(self._numbers())}"
        host = QemuHost(Path(qmp), name)
        try:
            with as_operator_error():
                await host.attach()
                await host.check()
        except OperatorError:
            await host.close()
            raise
        if name in self._hosts:
            await self.detach(name)
        await self._keep(host)
        try:
            self._found(name, await host.devices())
            await self._show_links(name)
            self._remember()
        except (OperatorError, HostError):
            await self._hosts.pop(name).close()
            raise
        return await self._show(host)

    def _at(self, qmp: str) -> QemuHost | None:
        return next((host for host in self._hosts.values() if host.path == Path(qmp)), None)

    async def _attach_again(self, host: QemuHost, name: str | None) -> dict[str, Any]:
        """QEMU serves one client a socket, so a second session with it would wait for ever."""
        if name not in (None, host.name):
            raise OperatorError(
                errno.EEXIST,
                f"{host.path} is attached already, as host {host.name}: use that name, or detach it first "
                f"(softdpu host detach {host.name}).",
            )
        with as_operator_error():
            await host.attach()
            await host.check()
        return await self._show(host)

    async def _keep(self, host: QemuHost) -> None:
        self._hosts[host.name] = host
        await host.start(lambda event: self._heard(host.name, event))
        log.info(
            "host %s: %s at %s", host.name, f"QEMU {host.version}" if host.connected else "not there yet", host.path
        )

    def _numbers(self) -> list[int]:
        return [int(name[4:]) for name in self._hosts if name.startswith("host") and name[4:].isdecimal()]

    def _heard(self, name: str, event: HostEvent) -> None:
        match event:
            case Gone():
                log.info("host %s: QEMU has gone", name)
                self._unplaced(name)
            case Removed(device_id=device_id):
                log.info("host %s: %s left", name, device_id)
                self._unplaced(name, only=device_id)
            case MigrationCancelled(sentence=sentence):
                log.warning("host %s: %s", name, sentence)
            case Back(devices=devices):
                log.info("host %s: QEMU is there", name)
                self._unplaced(name, keep=devices)
                self._found(name, devices)
                task = asyncio.get_running_loop().create_task(self._show_links(name))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _unplaced(self, name: str, *, keep: Collection[str] = (), only: str | None = None) -> None:
        """Devices that the host does not have any more: all that were in it, without ``keep``, or the one named."""
        for device in self._life.devices.values():
            place = device.record.place
            if place is None or place.host != name or place.device_id in keep:
                continue
            if only in (None, place.device_id):
                device.identity(place=None)

    def _found(self, name: str, device_ids: Collection[str]) -> None:
        """Devices that the host has although we did not plug them there, or have forgotten it: ids begin with VUIDs."""
        for device in self._life.devices.values():
            for device_id in device_ids:
                ours = device_id == device.name or device_id.startswith(f"{device.name}-")
                there = device.connected or device.export == "vhost-user"  # which is connected again at any time
                if ours and there and device.record.place is None:
                    log.info("host %s: it has %s", name, device.name)
                    device.identity(place=Place(host=name, device_id=device_id, bus=""))

    async def detach(self, name: str) -> None:
        """Forget a host; what is plugged into it stays there."""
        host = self._hosts.pop(name, None)
        if host is None:
            raise self._unknown(name)
        await host.close()
        self._remember()

    async def close(self) -> None:
        """Leave all hosts, and keep them remembered."""
        for task in self._tasks:
            task.cancel()
        for host in self._hosts.values():
            await host.close()

    def _unknown(self, name: str) -> OperatorError:
        there = ", ".join(self._hosts) or "none"
        return OperatorError(
            errno.ENODEV,
            f"there is no host {name}; attached hosts: {there}. softdpu host attach QMP_SOCKET --name {name}.",
        )

    def _remembered(self) -> dict[str, str]:
        try:
            found = msgspec.json.decode(self._file.read_bytes(), type=dict[str, str])
            for name, qmp in found.items():
                HostAttach(qmp=qmp, name=name)  # refuses what an operator could not have said
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError, OperatorError) as error:
            reason = str(error).rstrip(".")
            log.error("%s is damaged (%s): attach the hosts again (softdpu host attach).", self._file, reason)
            return {}
        return found

    def _remember(self) -> None:
        """Raises NotWritten."""
        durable.replace(self._file, msgspec.json.encode({name: str(host.path) for name, host in self._hosts.items()}))

    # ---- devices

    async def choose(self, name: str | None, transitional: bool) -> str | None:
        """The host for a new device: the one named, else the first with a free port; None when none is there.

        Raises OperatorError when there is no room for such a device.
        """
        if name is not None and name not in self._hosts:
            raise self._unknown(name)
        refusals = []
        there = [host for host in self._hosts.values() if host.connected]
        for host in [self._hosts[name]] if name is not None else there:
            try:
                await host.check()
                await host.choose(transitional=transitional)
            except (HostError, NoIoWindow) as error:
                refusals.append(error)
            else:
                return host.name
        if refusals:
            raise OperatorError(refusals[0].errno, str(refusals[0])) from refusals[0]
        return None

    async def plug(self, name: str, device: Device, *, bus: str | None = None) -> Place:
        """Plug a device into a host, on that bus if it can be had. Raises OperatorError."""
        config, host, socket = device.function.state.config, self._hosts[name], self._root.export(device.name)
        device_id = f"{device.record.vuid}-{secrets.token_hex(3)}"
        with as_operator_error():
            if device.export == "vhost-user":
                placement = await self._plug_back_end(host, device, device_id, bus)
            else:
                placement = await host.plug(
                    socket, device_id, transitional=config.layout != "modern", vectors=config.vectors
                )
        if placement.caution:
            log.info("%s: %s", device.name, placement.caution)
        return Place(host=name, device_id=device_id, bus=placement.bus)

    async def _plug_back_end(self, host: QemuHost, device: Device, device_id: str, bus: str | None) -> Placement:
        config, to = device.function.state.config, device.record.connects_to
        if not to:
            return await host.plug_back_end(self._root.export(device.name), device_id, config, bus=bus)
        reach = partial(self._connectors.reach, device)
        return await host.plug_back_end(Path(to), device_id, config, reach, bus=bus)

    async def abilities(self, name: str) -> Abilities:
        """What a host can do with a function. Raises OperatorError."""
        with as_operator_error():
            return await self._hosts[name].abilities()

    async def address(self, place: Place) -> identity.Bdf | None:
        """Where the guest sees a device, when QEMU knows."""
        host = self._hosts.get(place.host)
        if host is None:
            return None
        with as_operator_error():
            text = await host.address(place.device_id)
        return identity.Bdf.parse(text) if text else None

    async def unplug(self, place: Place, vectors: int) -> None:
        """Ask the guest to let go of a device. Raises OperatorError when it does not, or when that would end the VM."""
        host = self._hosts.get(place.host)
        if host is None:
            raise OperatorError(
                errno.ENODEV,
                f"the device is in host {place.host}, which is not attached: softdpu host attach QMP_SOCKET "
                f"--name {place.host}, then unplug it.",
            )
        with as_operator_error():
            await host.unplug(place.device_id, vectors=vectors)

    async def show_link(self, device: Device) -> None:
        """QEMU's own function in front of a vhost-user device shows the device's link; no other has one of its own.

        The device has that link whether or not QEMU shows it: what prevents that is logged.
        """
        place = device.record.place
        if place is None or device.export != "vhost-user":
            return
        up = device.function.state.config.link_up
        try:
            await self._hosts[place.host].set_link(place.device_id, up=up)
        except KeyError:
            log.warning("%s: its guest does not see the link: host %s is not attached", device.name, place.host)
        except HostError as error:
            log.warning("%s: its guest does not see the link: %s", device.name, error)

    async def _show_links(self, name: str) -> None:
        """A link that is down, and those of functions that are connected: nobody could say so while QEMU was away."""
        for device in list(self._life.devices.values()):
            place, up = device.record.place, device.function.state.config.link_up
            if place is not None and place.host == name and (device.connected or not up):
                await self.show_link(device)

    async def listing(self) -> list[dict[str, Any]]:
        """Every host."""
        return list(await asyncio.gather(*(self._show(host) for host in self._hosts.values())))

    async def _show(self, host: QemuHost) -> dict[str, Any]:
        shown: dict[str, Any] = {"name": host.name, "qmp": str(host.path), "qemu": host.version or "not there"}
        if not host.connected:
            return shown
        try:
            budget, place = await host.outlook()
        except HostError as error:
            return {**shown, "trouble": str(error)}
        ports = {share.bridge: share.reason for share in budget.shares}
        next_ = f"{place.bus}, slot {place.slot}" if place else "none"
        return {**shown, "io_windows": budget.arithmetic(), "next_transitional": next_, "ports": ports}


@contextmanager
def as_operator_error() -> Iterator[None]:
    """What a host says is wrong, as an error of the operator's interface."""
    try:
        yield
    except (HostError, NoIoWindow) as error:
        raise OperatorError(error.errno, str(error)) from error


def check_surprise(device: Device) -> None:
    """Whether a device may be pulled from a VMM that is not attached. Raises OperatorError when that ends the VM."""
    if is_qemu(device.peer):
        raise OperatorError(
            errno.EBUSY,
            f"{device.name} is in a QEMU that is not attached ({device.peer}), and its guest would be left with a dead "
            "device: attach it (softdpu host attach QMP_SOCKET), or shut it down first.",
        )
