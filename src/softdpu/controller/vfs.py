"""The VFs of static PFs: as many as the PF's SR-IOV capability says are enabled, whoever wrote that."""

import errno
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from softdpu.controller import identity, pools
from softdpu.controller.configuration import Series
from softdpu.controller.devices import Device
from softdpu.controller.errors import OperatorError
from softdpu.controller.export import Situation, choose
from softdpu.controller.lifecycle import Blueprint, Lifecycle
from softdpu.controller.limits import Limits
from softdpu.controller.peers import is_qemu
from softdpu.controller.pools import Share
from softdpu.controller.recovery import Recovery, RecoveryFile
from softdpu.controller.requests import parse_features
from softdpu.net.device import Function
from softdpu.net.state import FunctionConfig

log = logging.getLogger("softdpu.vfs")
BOOT = Path("/proc/sys/kernel/random/boot_id")
DEFAULT_MTU, SPEED, QUEUE_SIZE = 1500, 25000, 256


class Vfs:
    """Makes and removes VFs; the caller sees to it that only one change is made at a time."""

    def __init__(self, life: Lifecycle, limits: Limits, recovery: Recovery, series: Series) -> None:
        self.life = life
        self.limits = limits
        self.recovery = recovery
        self.series = series  # ``vf`` of virtnet.conf
        self.boot = BOOT.read_text().strip()

    # ---- what there is

    def members(self, pf: Device) -> list[Device]:
        """The VFs of a PF, in order."""
        return sorted(self.life.members(pf), key=_number)

    def owner(self, member: Device) -> Device:
        """The PF of a VF."""
        same = (d for d in self.life.devices.values() if d.record.pf_id == member.record.pf_id)
        return next(device for device in same if device.record.vf_id is None)

    @property
    def default(self) -> Share:
        """What a new VF gets of its PF's pool."""
        return Share(self.limits.vf_vectors, pools.pairs_of(self.limits.vf_vectors))

    def left(self, pf: Device) -> Share:
        """What is in a PF's pool."""
        return pools.left(self.default, [member.function.state.config for member in self.members(pf)])

    # ---- what a host does

    async def set_number(self, pf: Device, number: int, *, force: bool = False) -> None:
        """What a host does that writes ``number`` to sriov_numvfs of a PF. Raises OperatorError with Linux's errno."""
        now = pf.function.enabled_vfs
        if number == now:
            return
        self._check(pf, number, now, force=force)
        await self._enable(pf, number)
        try:
            await self.follow(pf)
        except OperatorError:
            await self._enable(pf, 0)
            raise

    def _check(self, pf: Device, number: int, now: int, *, force: bool) -> None:
        total = pf.function.total_vfs
        if not total:
            raise OperatorError(
                errno.ENOENT,
                f"{pf.name} has no VFs: only a static PF does, VIRTIO_NET_EMULATION_NUM_VF of them with SRIOV_EN=1: "
                "mlxconfig -d 03:00.0 -y s SRIOV_EN=1 VIRTIO_NET_EMULATION_NUM_VF=N, then softdpu power-cycle.",
            )
        if not 0 <= number <= total:
            raise OperatorError(errno.ERANGE, f"{pf.name} can have 0 to {total} VFs, not {number}.")
        if number and now:
            raise OperatorError(
                errno.EBUSY,
                f"{pf.name} has {now} VFs: make it 0 before it becomes {number}.",
            )
        used = [member.name for member in self.members(pf) if member.connected and is_qemu(member.peer)]
        if used and not force:
            raise OperatorError(
                errno.EBUSY,
                f"{len(used)} VFs of {pf.name} are in use by a QEMU ({', '.join(used[:4])}), whose guest would be left "
                "with a dead device: shut it down first, or use force.",
            )

    async def _enable(self, pf: Device, number: int) -> None:
        assert isinstance(pf.function, Function)
        await self.life.update(pf, pf.function.enable_vfs(number))

    # ---- what comes of it

    async def follow(self, pf: Device, files: dict[str, RecoveryFile] | None = None) -> None:
        """Make the VFs that are enabled and not there, remove those that are not enabled. Raises OperatorError."""
        wanted, there = pf.function.enabled_vfs, {_number(member): member for member in self.members(pf)}
        gone = [number for number in there if number >= wanted]
        await self._remove([there[number] for number in gone])
        _forget(pf, gone)
        missing = [number for number in range(wanted) if number not in there]
        if not missing:
            return
        taken = {device.record.sf_num for device in self.life.devices.values()}
        plans = [self._plan(pf, number, taken, files or {}) for number in missing]
        made = await self.life.create_all(plans)
        for member in made:
            self.keep(member)
        log.info("%s: %d VFs made", pf.name, len(made))

    async def follow_all(self) -> None:
        """Likewise for all PFs."""
        for pf in [device for device in self.life.devices.values() if device.function.total_vfs]:
            await self.follow(pf)

    async def _remove(self, members: Sequence[Device]) -> None:
        if not members:
            return
        for member in members:
            self.recovery.remove(member.name)
        await self.life.destroy_all(members)

    def keep(self, member: Device) -> None:
        """Write a VF's recovery file: for a restart of the DPU's programs, not of its machine."""
        try:
            self.recovery.write(member, boot=self.boot)
        except OperatorError as error:
            log.error("%s: a restart would not bring it back as it is: %s", member.name, error)

    # ---- restarts

    async def bring_up(self, files: dict[str, RecoveryFile], fresh: set[str]) -> None:
        """Have the VFs that were there. ``fresh`` are the PFs that know nothing of them, for the datapath is new."""
        known = {vuid: file for vuid, file in files.items() if file.device_type == "vf"}
        good = {vuid: file for vuid, file in known.items() if file.boot == self.boot}
        physical = [device for device in self.life.devices.values() if device.function.total_vfs]
        for pf in physical:
            try:
                numbers = [file.vf_id or 0 for file in good.values() if file.pf_id == pf.record.pf_id]
                if pf.name in fresh and numbers:
                    await self._enable(pf, min(max(numbers) + 1, pf.function.total_vfs))
                await self.follow(pf, good)
            except OperatorError as error:
                log.error("%s: its VFs are missing: %s", pf.name, error)
        await self._sweep(known)

    async def _sweep(self, files: dict[str, RecoveryFile]) -> None:
        """Nothing stays of VFs whose PF has gone."""
        owners = {d.record.pf_id for d in self.life.devices.values() if d.record.vf_id is None}
        devices = list(self.life.devices.values())
        await self._remove([d for d in devices if d.record.vf_id is not None and d.record.pf_id not in owners])
        there = {device.name for device in self.life.devices.values()}
        for vuid in files.keys() - there:
            self.recovery.remove(vuid)

    # ---- a new one

    def _plan(self, pf: Device, number: int, taken: set[int], files: dict[str, RecoveryFile]) -> Blueprint:
        record, sriov = pf.record, pf.function.state.config.sriov
        assert sriov is not None
        vuid = identity.vf_vuid(record.vuid, number)
        file = files.get(vuid)
        first = identity.FIRST_SF["VF"] + record.pf_id * sriov.total + number
        sf_num = file.sf_num if file and file.sf_num not in taken else identity.lowest_free(taken, first)
        taken.add(sf_num)
        config = self._config(pf, vuid, number, file)
        return Blueprint(
            kind="VF",
            pf_id=record.pf_id,
            vf_id=number,
            slot=number,
            vuid=vuid,
            bdf=identity.Bdf.from_raw(record.bdf.raw + sriov.offset + number * sriov.stride),
            ib_device=record.ib_device,
            port=record.port,
            sf_num=sf_num,
            config=config,
            export_reason=choose(Situation(kind="VF", config=config))[1],
        )

    def _config(self, pf: Device, vuid: str, number: int, file: RecoveryFile | None) -> FunctionConfig:
        fresh = FunctionConfig(
            layout="modern",
            virtual=True,
            mac=self._mac(pf, vuid, number),
            mtu=DEFAULT_MTU,
            queues=pools.queues_of(self.default.pairs),
            queue_size=QUEUE_SIZE,
            vectors=self.default.vectors,
            features=self.series.features or 0,
            speed=SPEED,
            mrg_rxbuf=self.limits.mrg_rxbuf,
            packed_vq=self.limits.packed_vq,
            legacy_access=self.limits.vf_legacy,
        )
        if file is None:
            return fresh
        vectors = fresh.vectors if file.num_msix is None else file.num_msix
        shape = {"queues": file.mq, "vectors": vectors, "queue_size": file.max_queue_size}
        return msgspec.structs.replace(fresh, **file.chosen, **shape, features=parse_features(file.features))

    def _mac(self, pf: Device, vuid: str, number: int) -> bytes:
        """``mac_base`` and so on, PF after PF; beyond ``vfs_per_pf`` it would be the next PF's."""
        base, each = self.series.mac_base, self.series.vfs_per_pf or 0
        if base is None or number >= each:
            return identity.mac_of(vuid)
        return identity.mac_from(base, pf.record.pf_id * each + number)


def _forget(pf: Device, numbers: Sequence[int]) -> None:
    """What the PF's driver keeps of these VFs by its administration virtqueue goes too; there they count from 1."""
    if isinstance(pf.function, Function):
        for number in numbers:
            pf.function.owner.forget_member(number + 1)


def _number(member: Device) -> int:
    assert member.record.vf_id is not None
    return member.record.vf_id
