"""Devices that come and go: static PFs at start, hot plug and unplug, what a restart or a reboot brings back."""

import asyncio
import errno
import logging
from typing import Any

import msgspec

from softdpu.controller import errors, identity, peers
from softdpu.controller.configuration import Series
from softdpu.controller.connectors import Connectors
from softdpu.controller.devices import Device, Place
from softdpu.controller.export import Situation, Wish, choose
from softdpu.controller.hosts import Hosts, check_surprise
from softdpu.controller.lifecycle import Blueprint, Lifecycle
from softdpu.controller.limits import Limits
from softdpu.controller.recovery import Recovery, RecoveryFile, content
from softdpu.controller.requests import SUCCESS, Hotplug, parse_features
from softdpu.controller.vfs import Vfs
from softdpu.host.interface import Abilities
from softdpu.net.state import FunctionConfig, Layout
from softdpu.pci.sriov import Sriov
from softdpu.virtio.outcome import Effects

log = logging.getLogger("softdpu.plug")
SEEN_WITHIN = 5.0  # seconds that a host gets to enable a device before hotplug returns all the same
GONE_WITHIN = 5.0  # seconds that a VMM gets to close its socket after the guest let go
STATIC_QUEUES = 3
STATIC_QUEUE_SIZE = 256
DEFAULT_MTU = 1500
SPEED = 25000  # Mb/s, what the product reports
NO_SERIES = Series()


class Plugger:
    """Creates and removes devices; the caller sees to it that only one change is made at a time."""

    def __init__(
        self,
        life: Lifecycle,
        hosts: Hosts,
        connectors: Connectors,
        limits: Limits,
        recovery: Recovery,
        wish: Wish = "auto",
        vf: Series = NO_SERIES,
    ) -> None:
        self.life = life
        self.hosts = hosts
        self.connectors = connectors
        self.limits = limits
        self.recovery = recovery
        self.wish = wish  # of virtnet.conf
        self.vfs = Vfs(life, limits, recovery, vf)
        self.serial = identity.board(life.root.path)

    # ---- what is there from power-on

    async def bring_up(self, mac_base: bytes | None, features: int) -> None:
        """Static PFs of the firmware, and hotplug PFs of the recovery files, that are not there already.

        Raises OperatorError when a static PF cannot be made, unless there are guests to be served all the same.
        """
        there = {device.record.vuid for device in self.life.devices.values()}
        files = self.recovery.read_all()
        vfs = {vuid: file for vuid, file in files.items() if file.device_type == "vf"}
        for number in range(self.limits.firmware["VIRTIO_NET_EMULATION_NUM_PF"]):
            plan = self.static_plan(number, mac_base, features, files.get(identity.static_vuid(self.serial, number)))
            if plan.vuid not in there:
                await self._make_static(plan, must=not there)
        for vuid, file in files.items():
            if vuid not in there and file.device_type == "hotplug":
                await self._recover(vuid, file)
        await self.vfs.bring_up(vfs, {device.name for device in self.life.devices.values()} - there)
        self.life.sweep()
        for device in self.life.devices.values():  # its controller may have died before it wrote the file
            if device.name not in files or files[device.name] != content(device, files[device.name].boot):
                self.keep(device)

    async def _make_static(self, plan: Blueprint, *, must: bool) -> None:
        try:
            await self.life.create(plan)
        except errors.OperatorError as error:
            if must:
                raise
            log.error("%s is missing: %s", plan.vuid, error)

    def keep_or_refuse(self, device: Device) -> None:
        """Write the recovery file of a device. Raises NotWritten."""
        self.recovery.write(device, boot="" if device.record.vf_id is None else self.vfs.boot)

    def keep(self, device: Device) -> None:
        """Write the recovery file of a device that is there whether or not that works."""
        try:
            self.keep_or_refuse(device)
        except errors.OperatorError as error:
            log.error("%s: a reboot would not bring it back as it is: %s", device.name, error)

    def static_plan(self, number: int, mac_base: bytes | None, features: int, file: RecoveryFile | None) -> Blueprint:
        """Static PF ``number``; what the operator changed in it is in its recovery file."""
        vuid = identity.static_vuid(self.serial, number)
        mac = identity.mac_from(mac_base, number) if mac_base else identity.mac_of(vuid)
        layout: Layout = "transitional" if self.limits.firmware["VIRTIO_NET_EMULATION_PF_PCI_LAYOUT"] else "modern"
        kept = file is not None and parse_features(file.configured) == features  # else virtnet.conf has the last word
        return self._exported(
            Blueprint(
                kind="static PF",
                pf_id=number,
                slot=number,
                vuid=vuid,
                bdf=identity.static_bdf(number),
                ib_device=self.limits.manager,
                port=self.limits.port(self.limits.manager),
                sf_num=identity.FIRST_SF["static PF"] + number,
                configured=features,
                config=FunctionConfig(
                    layout=layout,
                    **(file.chosen if file else {"mac": mac, "mtu": DEFAULT_MTU, "speed": SPEED}),
                    queues=min(STATIC_QUEUES, self.limits.queues),
                    queue_size=file.max_queue_size if file else STATIC_QUEUE_SIZE,
                    vectors=self.limits.vectors,
                    features=parse_features(file.features) if kept and file else features,
                    mrg_rxbuf=self.limits.mrg_rxbuf,
                    packed_vq=self.limits.packed_vq,
                    sriov=self._sriov(number),
                    legacy_access=self.limits.vf_legacy,
                ),
            )
        )

    def _sriov(self, number: int) -> Sriov | None:
        """Which VFs static PF ``number`` can have; the next PF is where ARI says that the device goes on."""
        pfs, vfs = self.limits.firmware["VIRTIO_NET_EMULATION_NUM_PF"], self.limits.vfs
        if not vfs:
            return None
        following = identity.static_bdf(number + 1).raw & 0xFF if number + 1 < pfs else 0
        return Sriov(vfs, identity.first_vf_offset(number, vfs), next_function=following)

    def _exported(
        self, plan: Blueprint, host: Abilities | None = None, asked: Wish | None = None, vectors: int | None = None
    ) -> Blueprint:
        """The plan with its export chosen; ``vectors`` are what the operator asked for. Raises OperatorError."""
        wish, by = (asked, "--export") if asked is not None else (self.wish, "export in virtnet.conf")
        situation = Situation(kind=plan.kind, config=plan.config, wish=wish, wished_by=by, host=host)
        export, reason = choose(situation)
        if export == "vhost-user" and host is not None and host.vhost_msix_crashes and plan.config.vectors:
            if vectors:
                raise errors.MsixWouldCrash(plan.vuid, host.version)
            reason += "; INTx only, for it has no KVM and would crash with MSI-X"
            plan = msgspec.structs.replace(plan, config=msgspec.structs.replace(plan.config, vectors=0))
        return msgspec.structs.replace(plan, export=export, export_reason=reason)

    async def _recover(self, vuid: str, file: RecoveryFile) -> None:
        try:
            vectors = self.limits.vectors if file.num_msix is None else file.num_msix
            self.limits.check_hotplug(file.mq, bool(file.transitional), len(self._plugged()), vectors)
            await self.life.create(self._recovered(vuid, file, vectors))
        except (errors.OperatorError, ValueError) as error:
            log.error("%s cannot be recovered: %s", vuid, error)

    def _recovered(self, vuid: str, file: RecoveryFile, vectors: int) -> Blueprint:
        """The plan of a hotplug PF. Its address may be a host's, so its slot is what the VUID says."""
        return Blueprint(
            kind="hotplug PF",
            pf_id=file.pf_id,
            slot=identity.hotplug_slot(vuid),
            vuid=vuid,
            bdf=identity.Bdf.from_raw(file.bdf_raw),
            ib_device=file.port_ib_dev,
            port=self.limits.port(file.port_ib_dev),
            sf_num=file.sf_num,
            config=FunctionConfig(
                layout="transitional" if file.transitional else "modern",
                **file.chosen,
                queues=file.mq,
                queue_size=file.max_queue_size,
                vectors=vectors,
                features=parse_features(file.features),
                mrg_rxbuf=self.limits.mrg_rxbuf,
                packed_vq=self.limits.packed_vq,
            ),
            export=file.export,
            export_reason=file.export_reason,
            connects_to=file.connects_to,
        )

    # ---- hot plug

    async def hotplug(self, request: Hotplug) -> dict[str, Any]:
        """A new PF, seen by its host when this returns. Raises OperatorError and leaves nothing behind."""
        self.limits.check_hotplug(request.max_queues, request.legacy, len(self._plugged()), request.num_msix or 0)
        plan = self._plan(request)
        self._warn_of_twins(plan)
        host = await self.hosts.choose(request.host, transitional=request.legacy)
        abilities = await self.hosts.abilities(host) if host is not None else None
        plan = self._connecting(self._exported(plan, abilities, request.wish, request.num_msix), request.connect)
        device = await self.life.create(plan)
        try:
            self.recovery.write(device)
            place = await self._into_host(device, host) if host is not None else None
        except BaseException:
            await self._undo(device)
            raise
        if place is not None:
            await self._settle_in(device, place)
        self.connectors.keep(device)
        return self._reply(device)

    def _connecting(self, plan: Blueprint, to: str | None) -> Blueprint:
        """The plan of a device that connects to its VMM, at a path of the operator's or, if empty, the usual one."""
        if to is None:
            return plan
        return msgspec.structs.replace(plan, connects_to=to or str(self.life.root.export(plan.vuid)))

    def _warn_of_twins(self, plan: Blueprint) -> None:
        twins = [d.name for d in self.life.devices.values() if d.function.state.config.mac == plan.config.mac]
        if twins:
            mac = identity.mac_text(plan.config.mac)
            log.warning(
                "%s gets the MAC address %s, which %s has: the switch will confuse them", plan.vuid, mac, twins[0]
            )

    def _plugged(self) -> list[Device]:
        return [d for d in self.life.devices.values() if d.record.kind == "hotplug PF"]

    @property
    def places_left(self) -> int:
        """How many more PFs the firmware lets one plug."""
        return max(0, self.limits.hotplug_devices - len(self._plugged()))

    async def _undo(self, device: Device) -> None:
        """As if it had never been plugged."""
        try:
            self.recovery.remove(device.name)
        except errors.OperatorError as error:
            log.error("%s", error)
        await self.life.destroy(device)

    async def _into_host(self, device: Device, host: str) -> Place:
        place = await self.hosts.plug(host, device)
        device.identity(place=place)
        return place

    async def _settle_in(self, device: Device, place: Place) -> None:
        """The host has the device; from here on nothing takes it away again. Raises OperatorError: no datapath."""
        await self.life.update(device, Effects())
        try:
            async with asyncio.timeout(SEEN_WITHIN):
                await device.seen.wait()
        except TimeoutError:
            log.warning("%s: host %s has it, its operating system has not enabled it yet", device.name, place.host)
        try:
            bdf = await self.hosts.address(place)
        except errors.OperatorError as error:
            log.warning("%s: its address in host %s is not known: %s", device.name, place.host, error)
            return
        if bdf is not None:
            device.identity(bdf=bdf)
            await self.life.update(device, Effects())
            self.keep(device)

    def _plan(self, request: Hotplug) -> Blueprint:
        devices = self.life.devices.values()
        slot = identity.lowest_free(d.record.slot for d in self._plugged())
        return Blueprint(
            kind="hotplug PF",
            pf_id=identity.lowest_free(
                (d.record.pf_id for d in devices), self.limits.firmware["VIRTIO_NET_EMULATION_NUM_PF"]
            ),
            slot=slot,
            vuid=identity.hotplug_vuid(self.serial, slot),
            bdf=identity.hotplug_bdf(slot, self._first_bus),
            ib_device=request.ib_device,
            port=self.limits.port(request.ib_device),
            sf_num=self._sf(request.sf_num),
            config=FunctionConfig(
                layout="transitional" if request.legacy else "modern",
                mac=request.mac_bytes,
                mtu=request.mtu,
                queues=request.max_queues,
                queue_size=request.max_queue_size,
                vectors=self.limits.vectors if request.num_msix is None else request.num_msix,
                features=request.feature_bits,
                speed=SPEED,
                mrg_rxbuf=self.limits.mrg_rxbuf,
                packed_vq=self.limits.packed_vq,
            ),
        )

    @property
    def _first_bus(self) -> int:
        return identity.first_hotplug_bus(self.limits.firmware["VIRTIO_NET_EMULATION_NUM_PF"], self.limits.vfs)

    def _sf(self, asked: int | None) -> int:
        taken = {device.record.sf_num: device.name for device in self.life.devices.values()}
        if asked in taken:
            raise errors.OperatorError(
                errno.EEXIST,
                f"scalable function {asked} belongs to {taken[asked]}: choose another -u, or leave it away.",
            )
        return asked or identity.lowest_free(taken, identity.FIRST_SF["hotplug PF"])

    @staticmethod
    def _reply(device: Device) -> dict[str, Any]:
        return {
            "bdf": str(device.record.bdf),
            "vuid": device.record.vuid,
            "id": device.record.pf_id,
            "transitional": int(device.function.state.config.layout == "transitional"),
            "sf_rep_net_device": device.record.representor,
            "mac": identity.mac_text(device.function.state.config.mac).upper(),
            **SUCCESS,
        }

    # ---- unplug

    async def unplug(self, device: Device) -> dict[str, Any]:
        """Take a hotplug PF out of its host and release all that it had. Raises OperatorError: nothing was done.

        Its recovery file goes first: a controller that dies in between does not bring back what was being unplugged.
        """
        if device.record.kind != "hotplug PF":
            raise errors.OperatorError(
                errno.EPERM,
                f"{device.name} is a {device.record.kind}, and only a hotplug PF can be unplugged: "
                "static PFs are set by VIRTIO_NET_EMULATION_NUM_PF (mlxconfig), VFs by sriov_numvfs.",
            )
        await self._out_of_host(device)
        self.recovery.remove(device.record.vuid)
        await self.connectors.let_go(device)
        await self.life.destroy(device)
        return dict(SUCCESS)

    async def _out_of_host(self, device: Device) -> None:
        place: Place | None = device.record.place
        if place is not None and (device.connected or device.export == "vhost-user"):
            await self.hosts.unplug(place, device.function.state.config.vectors)
            await self._wait_until_gone(device)
        elif device.connected and peers.ended(device.peer):
            await self._wait_until_gone(device)
        elif device.connected:
            check_surprise(device)

    @staticmethod
    async def _wait_until_gone(device: Device) -> None:
        deadline = asyncio.get_running_loop().time() + GONE_WITHIN
        while device.connected and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
