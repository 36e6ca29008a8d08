"""How a device comes to be and goes: representor, socket, function in the datapath; all of it or nothing."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import msgspec

from softdpu.controller import identity
from softdpu.controller.devices import AnyFunction, Device, Record
from softdpu.controller.errors import OperatorError
from softdpu.controller.export import Export, Kind
from softdpu.controller.groups import VfGroup
from softdpu.controller.root import SOCKET_PATH_LIMIT, Root
from softdpu.datapath.client import DatapathError, DatapathLink, Request
from softdpu.datapath.messages import FUNCTIONS, Answer, Attached, Command, Create, Destroy, Negotiated, Update
from softdpu.fabric import representor as representors
from softdpu.fabric.errors import FabricError
from softdpu.fabric.uplink import Joined
from softdpu.net.device import Function
from softdpu.net.state import FunctionConfig
from softdpu.net.vhost import VhostFunction
from softdpu.virtio.effects import SetFabric, SetUplink
from softdpu.virtio.outcome import NOTHING, Effects, effects

log = logging.getLogger("softdpu.lifecycle")
BACKLOG = 16


class Blueprint(msgspec.Struct, frozen=True):
    """What a new device shall be."""

    kind: Kind
    pf_id: int
    slot: int
    vuid: str
    bdf: identity.Bdf
    ib_device: str
    port: int
    sf_num: int
    config: FunctionConfig
    export: Export = "vfio-user"
    export_reason: str = ""
    connects_to: str = ""  # where its VMM listens; empty: the DPU does
    configured: int = 0  # feature bits that virtnet.conf has for it
    vf_id: int | None = None

    @property
    def representor(self) -> str:
        """The netdev at the DPU's end."""
        return identity.representor_name(self.port, self.sf_num)


class Lifecycle:
    """All devices of the DPU, by the number that the datapath knows them by."""

    def __init__(self, root: Root, netns: str | None) -> None:
        self.root = root
        self.netns = netns
        self.devices: dict[int, Device] = {}
        self.uplinks: dict[int, Joined] = {}  # by number, those that have joined
        self.link: DatapathLink | None = None
        self.on_vfs: Callable[[Device], None] = lambda _: None  # told when a host enabled or disabled VFs
        self._copies: set[asyncio.Task[None]] = set()

    @property
    def datapath(self) -> DatapathLink:
        """The datapath; raises OperatorError while there is none."""
        if self.link is None:
            raise OperatorError(errno.EAGAIN, "the datapath is being started again: try once more in a second.")
        return self.link

    def answer(self, request: Request) -> Answer | None:
        """The answer of the device that a request is for; None: it follows when the datapath has told what it takes."""
        device = self.devices.get(request.function)
        if device is None:
            log.error("the datapath asks for function %d, which is not there", request.function)
            return Answer(request.function, request.request, errno.ENODEV, b"", None, ())
        if isinstance(request, Command) and isinstance(device.function, Function) and device.function.total_vfs:
            device.function.owner.group = VfGroup(device, self.members, self._carry_out, self._isr)
        before = device.function.enabled_vfs
        answer = device.answer(request, lambda queue: self.datapath.queue_counters(device.number, queue))
        if device.function.enabled_vfs != before:
            self.on_vfs(device)
        if answer.errno or not device.wants_standing(request):
            return answer
        self._copy_later(device, request, answer)
        return None

    def _copy_later(self, device: Device, request: Request, so_far: Answer) -> None:
        """A device that is to be read is frozen; its rings are where the datapath says then."""
        link = self.datapath
        link.send(Update(link.ticket(), device.number, so_far.state or device.sent_state(), so_far.effects))
        task = asyncio.get_running_loop().create_task(self._copy(link, device, request), name=f"copy {device.name}")
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    @staticmethod
    async def _copy(link: DatapathLink, device: Device, request: Request) -> None:
        """Answered as soon as it is heard: whatever the datapath says next is answered by what the device is then."""
        try:
            await link.standing(device.number, lambda standing: link.send(device.copy(request, standing)))
        except DatapathError as error:
            log.info("%s: it is not read: %s", device.name, error)
            link.send(Answer(device.number, request.request, error.errno, b"", None, ()))

    def members(self, pf: Device) -> list[Device]:
        """The VFs of a PF."""
        virtual = [device for device in self.devices.values() if device.record.vf_id is not None]
        return [device for device in virtual if device.record.pf_id == pf.record.pf_id]

    def _isr(self, device: Device) -> int:
        return self.datapath.isr(device.number)

    def _carry_out(self, device: Device, effects: Effects) -> None:
        """Tell the datapath what a function wants, before whatever is sent to it next."""
        device.note(effects)
        link, state = self.datapath, device.changed_state()
        if state is not None or effects.items:
            link.send(Update(link.ticket(), device.number, state or device.sent_state(), effects.items))

    def negotiated(self, message: Negotiated) -> None:
        """A vhost-user front end has gone a step further."""
        if device := self.devices.get(message.function):
            device.negotiated(message.agreement)

    def adopt(self, attached: Attached, tap: int | None = None) -> bool:
        """Take over a device that the datapath served while no controller was there; False if it is not understood.

        ``tap`` is the representor's descriptor, which becomes the device's.
        """
        try:
            device = Device.restored(attached.function, attached.state, attached.connected)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            log.error("function %d of the running datapath is not understood (%s): closed", attached.function, error)
            if tap is not None:
                os.close(tap)
            return False
        device.tap = tap
        self.devices[device.number] = device
        log.info("%s: taken over, %s", device.name, "a VMM is connected" if device.connected else "no VMM")
        return True

    async def look_up_representors(self) -> None:
        """Representors outlive a controller: find those of the devices that were taken over."""
        try:
            links = await representors.find_all(self.netns)
        except FabricError as error:
            log.warning("%s", error)
            return
        for device in self.devices.values():
            link = links.get(device.record.representor)
            device.ifindex = link.ifindex if link else 0

    async def create(self, plan: Blueprint) -> Device:
        """Bring a device up to the point where a VMM can connect. Raises OperatorError and leaves nothing behind."""
        return (await self.create_all([plan]))[0]

    async def create_all(self, plans: Sequence[Blueprint]) -> list[Device]:
        """Bring devices up to the point where a VMM can connect: all, or none. Raises OperatorError."""
        if len(self.devices) + len(plans) > FUNCTIONS:
            raise OperatorError(errno.ENOSPC, f"all {FUNCTIONS} functions of the DPU are in use: unplug one first.")
        self._refuse_twins(plans)
        devices = self._drafts(plans)
        with ExitStack() as undo:
            taps = await self._representors([(plan.representor, plan.config.mtu) for plan in plans])
            for device, tap in zip(devices, taps, strict=True):
                device.tap, device.ifindex = tap.fd, tap.ifindex
                undo.callback(device.let_go)
            for device in devices:
                undo.callback(self._unlink_all, device)
                self.devices[device.number] = device
                undo.callback(self.devices.pop, device.number)
            await self._hand_over_all(devices)
            undo.pop_all()
        for device in devices:
            if not device.function.state.config.link_up:
                await self.follow_link(device)
            log.info("%s: created, %s, representor %s", device.name, self.where(device), device.record.representor)
        return devices

    async def _hand_over_all(self, devices: Sequence[Device]) -> None:
        """All to the datapath, or none. Messages on its socket keep their order, so an undone one is not left there."""
        results = await asyncio.gather(*map(self._hand_over, devices), return_exceptions=True)
        failed = next((result for result in results if isinstance(result, BaseException)), None)
        if failed is None:
            return
        if (link := self.link) is not None:
            for device, result in zip(devices, results, strict=True):
                if result is None:
                    link.send(Destroy(link.ticket(), device.number))
        raise failed

    async def give_back(self, device: Device) -> None:
        """A new datapath serves the device, as the former one did. Raises OperatorError."""
        device.orphaned()
        if device.tap is None:
            (tap,) = await self._representors([(device.record.representor, device.function.state.config.mtu)])
            device.tap, device.ifindex = tap.fd, tap.ifindex
        await self._hand_over(device)
        if not device.function.state.config.link_up:
            await self.follow_link(device)
        log.info("%s: given to the new datapath", device.name)

    def _refuse_twins(self, plans: Sequence[Blueprint]) -> None:
        """No two devices share an id. The controller numbers them itself, so this is for recovery files."""
        taken = {thing: device.name for device in self.devices.values() for thing in _ids(device.record)}
        for plan in plans:
            for thing in _ids(plan):
                if (owner := taken.get(thing)) is not None:
                    raise OperatorError(
                        errno.EEXIST,
                        f"{plan.vuid} cannot be made: {' '.join(thing)} belongs to {owner}. Unplug that one first, "
                        "or choose another.",
                    )

    async def _representors(self, wanted: Sequence[tuple[str, int]]) -> list[representors.Representor]:
        try:
            return await representors.create_all(wanted, self.netns)
        except FabricError as error:
            raise OperatorError(error.errno, str(error)) from error

    def _drafts(self, plans: Sequence[Blueprint]) -> list[Device]:
        free = (number for number in range(FUNCTIONS) if number not in self.devices)
        return [self._draft(plan, number) for plan, number in zip(plans, free, strict=False)]

    def _draft(self, plan: Blueprint, number: int) -> Device:
        function = self._function(plan.config, plan.export, bool(plan.connects_to))
        record = Record(
            kind=plan.kind,
            pf_id=plan.pf_id,
            vf_id=plan.vf_id,
            slot=plan.slot,
            vuid=plan.vuid,
            ib_device=plan.ib_device,
            port=plan.port,
            sf_num=plan.sf_num,
            representor=plan.representor,
            bdf=plan.bdf,
            max_queues=plan.config.queues,
            place=None,
            function=function.state,
            export_reason=plan.export_reason,
            connects_to=plan.connects_to,
            configured=plan.configured,
        )
        return Device(number, record, function)

    @staticmethod
    def _function(config: FunctionConfig, export: Export, client: bool = False) -> AnyFunction:
        try:
            return VhostFunction.create(config, client) if export == "vhost-user" else Function.create(config)
        except ValueError as error:
            reason = str(error).rstrip(".")
            raise OperatorError(getattr(error, "errno", errno.EINVAL), f"{reason}.") from error

    async def _hand_over(self, device: Device) -> None:
        link, records = self.datapath, device.export == "vhost-user"
        create = Create(
            ticket=link.ticket(),
            function=device.number,
            description=device.function.description,
            representor=True,
            state=device.sent_state(),
            effects=(*device.function.start_effects().items, SetUplink(device.record.port)),
            records=records,
        )
        try:
            with ExitStack() as closed_here:
                descriptors = [device.tap] if device.tap is not None else []
                if not device.record.connects_to:
                    listener = closed_here.enter_context(listen(self.root.export(device.name)))
                    descriptors.insert(0, listener.fileno())
                if records:
                    descriptors.append(closed_here.enter_context(kept_rings(self.root.rings(device.name))).fileno())
                await link.ask(create, descriptors)
        except DatapathError as error:
            reason = str(error).rstrip(".")
            raise OperatorError(error.errno, f"the datapath does not take {device.name}: {reason}.") from error
        except asyncio.CancelledError:
            link.send(Destroy(link.ticket(), device.number))  # after Create on the same socket: it is undone
            raise

    async def update(self, device: Device, effects: Effects) -> None:
        """Tell the datapath what the operator changed. Raises OperatorError."""
        device.note(effects)
        link = self.datapath
        try:
            await link.ask(Update(link.ticket(), device.number, device.sent_state(), effects.items))
        except DatapathError as error:
            reason = str(error).rstrip(".")
            raise OperatorError(error.errno, f"the datapath does not change {device.name}: {reason}.") from error

    async def set_fabric(self, name: str, on: bool, moved: bool = True) -> None:
        """The representor of this name joined (on False) or left a bridge: the built-in switch steps back or in.

        A guest that ``moved`` by that is asked to make itself known where it is now (virtio 1.3 §5.1.6.5.4).
        """
        for device in [d for d in self.devices.values() if d.record.representor == name]:
            log.info("%s: %s", device.name, "in the built-in switch" if on else f"{name} has a master: it switches now")
            try:
                asked = device.function.announce() if moved and isinstance(device.function, Function) else NOTHING
                await self.update(device, effects(SetFabric(on=on)) + asked)
            except OperatorError as error:
                log.warning("%s", error)  # it is just going, or the datapath has gone

    async def reshape(self, device: Device, config: FunctionConfig) -> None:
        """The device becomes one of this configuration, on a socket of the same name; nobody may be connected.

        Raises OperatorError: it is as it was.
        """
        before, fresh = device.function, self._function(config, device.export)
        await self._forget(device)
        device.function = fresh
        try:
            await self.give_back(device)
        except BaseException:
            device.function = before
            await self.give_back(device)
            raise

    async def destroy(self, device: Device) -> None:
        """Close its sockets, delete its representor, forget it. What has gone already is no error."""
        await self.destroy_all([device])

    async def destroy_all(self, devices: Sequence[Device]) -> None:
        """Likewise of many."""
        if not devices:
            return
        for device in devices:  # first: whoever closes a tap last waits for the kernel
            device.let_go()
        await asyncio.gather(*map(self._forget, devices))
        for device in devices:
            self.devices.pop(device.number, None)
            self._unlink_all(device)
        names = [device.record.representor for device in devices]
        await self._quietly(
            representors.delete_all(names, self.netns) if len(names) > 1 else representors.delete(names[0], self.netns)
        )
        for device in devices:
            log.info("%s: gone", device.name)

    async def _forget(self, device: Device) -> None:
        """The datapath serves it no more."""
        try:
            if self.link is not None:
                await self.link.ask(Destroy(self.link.ticket(), device.number))
        except DatapathError as error:
            log.warning("%s: %s", device.name, error)

    def sweep(self, kinds: Sequence[str] = ("sock", "rings")) -> None:
        """Remove the files of devices that are not there: a controller died before it could."""
        there = {device.name for device in self.devices.values()}
        for kind in kinds:
            for path in self.root.run.glob(f"*VNETS*.{kind}"):
                if path.stem not in there:
                    log.info("%s belongs to no device: removed", path)
                    self._unlink(path)

    def where(self, device: Device) -> str:
        """Which end of its connection is where."""
        to = device.record.connects_to
        return f"connects to {to}" if to else f"served at {self.root.export(device.name)}"

    def _unlink_all(self, device: Device) -> None:
        if not device.record.connects_to:
            self._unlink(self.root.export(device.name))  # else it is the VMM's
        self._unlink(self.root.rings(device.name))

    @staticmethod
    def _unlink(path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s stays: %s", path, error)

    async def widen(self, device: Device, mtu: int) -> int | None:
        """Let the representor pass what a device with this MTU sends; returns the MTU that it had, if it was smaller.

        Raises OperatorError: a device's MTU is never above its representor's.
        """
        name = device.record.representor
        try:
            link = await representors.find(name, self.netns)
            if link is not None and link.mtu >= mtu:
                return None
            await representors.set_mtu(name, self.netns, mtu)
        except FabricError as error:
            raise OperatorError(error.errno, str(error)) from error
        return link.mtu if link else None

    async def set_representor_mtu(self, device: Device, mtu: int) -> None:
        """Set the representor's MTU, where that is not essential."""
        await self._quietly(representors.set_mtu(device.record.representor, self.netns, mtu))

    async def follow_link(self, device: Device) -> None:
        """The representor's carrier shows the function's link."""
        await self._quietly(
            representors.set_carrier(device.record.representor, self.netns, device.function.state.config.link_up)
        )

    @staticmethod
    async def _quietly(change: Awaitable[None]) -> None:
        try:
            await change
        except FabricError as error:
            log.warning("%s", error)


def kept_rings(path: Path) -> BinaryIO:
    """The file that outlives the datapath; one that is there already holds what the former one left."""
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+b")
    except OSError as error:
        raise OperatorError(
            error.errno or errno.EIO,
            f"the file {path} cannot be made ({error.strerror or error}): free space there, or make the place "
            "writable, then try again.",
        ) from error


def _ids(who: Record | Blueprint) -> list[tuple[str, str]]:
    """What no two devices have in common, each with what it is called."""
    pf = f"{who.pf_id}" if who.vf_id is None else f"{who.pf_id} vf {who.vf_id}"
    return [("VUID", who.vuid), ("pf_id", pf), ("scalable function", f"{who.sf_num}")]


def listen(path: Path) -> socket.socket:
    """A listening socket at ``path``, readable and writable by its owner alone. Raises OperatorError."""
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise OperatorError(
            errno.ENAMETOOLONG,
            f"the socket path {path} is longer than the {SOCKET_PATH_LIMIT} bytes that unix sockets allow: "
            "start the controller with a shorter --root.",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OperatorError(
            error.errno or errno.EIO,
            f"the socket {path} cannot be made ({error.strerror or error}): free space there, or make the place "
            "writable, then try again.",
        ) from error
    finally:
        os.umask(mask)
    return listener
