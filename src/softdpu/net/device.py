"""A whole virtio-net PCI function: calls in, effects out. No socket, no clock, no thread.

    function = Function.create(FunctionConfig(layout="transitional", mac=bytes.fromhex("0cc47aff2293")))
    data, effects = function.read(CONFIG_REGION, 0, 4)          # b"\\xf4\\x1a\\x00\\x10"
    effects = function.write(0, 0x12, b"\\x01")                  # a legacy driver: ACKNOWLEDGE
    again = Function.restore(decode(encode(function.state)))    # the same function

Guests may do anything: no access raises. An operator's mistake raises a ``Mistake``, whose text is a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from softdpu.net.bars import IoRegion, ModernRegion
from softdpu.net.coalescing import of_queue
from softdpu.net.features import offered, withheld
from softdpu.net.filters import in_mode, rx_mode
from softdpu.net.mistakes import BadSetting, DriverBound
from softdpu.net.network import NetworkDevice, fresh_state, queue_total, shape
from softdpu.net.parts import with_parts
from softdpu.net.saved import SavedFunction, fitted
from softdpu.net.settings import check, check_mac, check_mtu, check_rx_mode, check_speed, moderated
from softdpu.net.state import CoalescingState, FunctionConfig, FunctionState, MigrationState
from softdpu.net.statistics import Counted, nothing
from softdpu.net.validation import validated
from softdpu.pci.config_space import ConfigSpace
from softdpu.pci.description import CONFIG_REGION, Description
from softdpu.pci.msix import MsixTable
from softdpu.pci.plan import IO_BAR, MODERN_BAR, MSIX_BAR, Bar, describe
from softdpu.spec import features as f
from softdpu.spec import virtio_pci as v
from softdpu.spec.pci_extended import SRIOV, VF_ENABLE, VF_MEMORY_ENABLE
from softdpu.virtio.admin.owner import Owner
from softdpu.virtio.effects import Announce, Freeze, Reset, SetCoalescing, SetConfigVector, SetInterrupts
from softdpu.virtio.negotiation import Negotiation, Verdict
from softdpu.virtio.outcome import NOTHING, Effects, effects, note
from softdpu.virtio.parts import Part
from softdpu.virtio.state import Mode, QueueState, VirtioState

LONGEST = 1 << 20  # bytes of one access that are looked at


class QueueView(msgspec.Struct, frozen=True):
    """A virtqueue, for people."""

    index: int
    size: int
    vector: int
    enabled: bool
    notify_offset: int
    descriptor: int
    driver: int
    device: int


class Function:
    """One virtio-net PCI function. ``state`` is alive: encode it, or copy it, before the next call."""

    def __init__(self, state: FunctionState) -> None:
        """Of a state known to be good: others use ``create`` and ``restore``."""
        self._become(state)

    def _become(self, state: FunctionState) -> None:
        self.state = state
        config = state.config
        self._queues = queue_total(config)
        self._plan = shape(config)
        self._device = NetworkDevice(state)
        self._virtio = self._device.virtio
        self._space = ConfigSpace(self._plan, state.pci)
        self._table = MsixTable(self._plan, state.pci)
        self.legacy = IoRegion(self._device, self._space) if self._plan.legacy or config.legacy_access else None
        self._io = self.legacy if self._plan.legacy else None  # of a VF its owner only reaches them
        self._modern = ModernRegion(self._device) if self._plan.modern else None
        self.description: Description = describe(self._plan, self._queues)

    @classmethod
    def create(cls, config: FunctionConfig) -> Function:
        """A function as it comes out of reset. Raises ``Mistake`` for a configuration that cannot be."""
        check(config)
        virtio = VirtioState(queues=tuple(QueueState() for _ in range(queue_total(config))))
        return cls(FunctionState(config=config, virtio=virtio, net=fresh_state(config)))

    @classmethod
    def restore(cls, state: FunctionState) -> Function:
        """The function that a state was taken of. Raises ``BadState``, naming the field, if it is of none."""
        return cls(validated(state))

    # ---- the guest's side

    def read(self, region: int, offset: int, size: int, isr: int = 0) -> tuple[bytes, Effects]:
        """``size`` bytes of a region; ``isr`` are the ISR bits at this moment. Zeros where there is nothing."""
        size, isr = min(max(size, 0), LONGEST), isr & 0xFF
        if offset < 0 or not size:
            return bytes(size), NOTHING
        if region == CONFIG_REGION:
            return self._read_config(offset, size, isr)
        if region == MODERN_BAR and self._modern:
            return self._modern.read(offset, size, isr)
        if region == IO_BAR and self._io:
            return self._io.read(offset, size, isr)
        if region == MSIX_BAR:
            return self._table.read(offset, size), NOTHING
        return bytes(size), NOTHING

    def write(self, region: int, offset: int, data: bytes) -> Effects:
        """Writes to a region; where there is nothing to write to, nothing happens."""
        if offset < 0 or not data:
            return NOTHING
        if region == CONFIG_REGION:
            return self._write_config(offset, data)
        if region == MODERN_BAR and self._modern:
            return self._modern.write(offset, data)
        if region == IO_BAR and self._io:
            return self._io.write(offset, data)
        if region == MSIX_BAR:
            self._table.write(offset, data)
        return NOTHING

    def reset(self) -> Effects:
        """PCI function reset, from outside or by the driver's FLR (PCIe 5.0 §6.6.2): all registers, all of virtio."""
        self._space.reset()
        self._table.reset()
        released = effects(Freeze(False)) if self.state.virtio.held else NOTHING
        self.state.virtio.stopped = self.state.virtio.quiesced = self.state.virtio.paused = False
        self.state.migration = MigrationState()
        return self._virtio.reset() + self._interrupts() + released

    def disconnected(self) -> Effects:
        """The VMM is gone: the next one finds a function that was just reset."""
        return self.reset()

    def command(self, queue: int, data: bytes, room: int, counted: Counted = nothing) -> tuple[bytes, Effects]:
        """A chain of the control or administration queue. Returns what to write into it, at most ``room`` bytes.

        ``counted`` tells what has been counted on a queue.
        """
        return self._device.command(queue, data, room, counted)

    def queue_fault(self, queue: int, cause: str) -> Effects:
        """A queue was stopped because the driver broke a rule of the ring."""
        return self._virtio.queue_fault(queue, cause)

    # ---- the owner's side of a VF

    def stop(self, stopped: bool) -> Effects:
        """The owner stops the function, or lets it go on."""
        return self._virtio.stop() if stopped else self._go_on(self._virtio.go_on)

    def _go_on(self, release: Callable[[], Effects]) -> Effects:
        """What came from elsewhere is told the port before queues start."""
        virtio = self.state.virtio
        elsewhere = virtio.moved or virtio.standing is not None
        released = release()
        told = self._device.port_effects() + self._interrupts() + self._config_vector()
        return (told if elsewhere and not virtio.held else NOTHING) + released

    def set_parts(self, parts: Sequence[Part]) -> Effects:
        """Device parts, all or none, to take effect when the function goes on. Raises ``Stray``."""
        assert self.state.virtio.stopped, "parts are set while the function is stopped"
        new = with_parts(self.state, parts)
        for mine, other in ((self.state.virtio, new.virtio), (self.state.net, new.net)):
            for field in mine.__struct_fields__:
                setattr(mine, field, getattr(other, field))
        self.state.virtio.moved, self.state.virtio.standing = True, None
        return effects(Reset())

    # ---- states that come from elsewhere, and its operator's side

    def pause(self, paused: bool) -> Effects:
        """The operator has it leave its driver alone, or lets it go on."""
        return self._virtio.pause() if paused else self._go_on(self._virtio.proceed)

    def put(self, saved: SavedFunction) -> Effects:
        """Becomes the function that was saved, to go on where that one stood. Raises BadState: it is as it was."""
        before, group = self.state, self.owner.group
        assert before.virtio.held, "a state is put in while the function is stopped"
        state = fitted(saved, before.config)
        for hold in ("stopped", "quiesced", "paused"):
            setattr(state.virtio, hold, getattr(before.virtio, hold))
        state.migration = before.migration
        self._become(state)
        self.owner.group = group
        return effects(Reset())

    # ---- its VMM's side, which moves it (``softdpu.net.migration``)

    def quiesce(self, quiet: bool) -> Effects:
        """The VMM has it leave its driver alone, or lets it go on."""
        return self._virtio.quiesce() if quiet else self._go_on(self._virtio.resume)

    def arrived(self) -> Effects:
        """It has come from elsewhere with a driver that runs: everyone is to know where its address is now.

        The device says so at once; a driver that has agreed to is asked to say it too, with the addresses that it knows
        of (§5.1.6.5.4).
        """
        if not self.status & v.DRIVER_OK:
            return NOTHING
        asked = self.announce() if self._device.has(f.NET_GUEST_ANNOUNCE) else NOTHING
        return effects(Announce(self.state.net.mac)) + asked

    # ---- configuration space

    def _read_config(self, offset: int, size: int, isr: int) -> tuple[bytes, Effects]:
        result = NOTHING
        if self._space.touches_window(offset, size) and (access := self._window()):
            data, result = access.read(isr)
            self._space.fill_window(data)
        return self._space.read(offset, size, isr), result

    def _write_config(self, offset: int, data: bytes) -> Effects:
        if self._space.asks_reset(offset, data):
            return self.reset()
        before = self._space.msix_enabled, self._space.intx_disabled
        self._space.write(offset, data)
        result = NOTHING
        if before != (self._space.msix_enabled, self._space.intx_disabled):
            result += self._interrupts()
        if self._space.touches_window(offset, len(data)) and (access := self._window()):
            result += access.write(self._space.window_data)
        return result

    def _window(self) -> _WindowAccess | None:
        """PCI configuration access reaches the structures that other capabilities name, so one BAR (§4.1.4.9.2)."""
        access = self._space.window
        if access is None or access.bar != MODERN_BAR or not self._modern:
            return None
        return _WindowAccess(self._modern, access.offset, access.length)

    def _interrupts(self) -> Effects:
        return effects(SetInterrupts(self._space.msix_enabled, self._space.intx_disabled))

    # ---- the operator's side

    def set_mac(self, mac: bytes) -> Effects:
        """Another address; no driver may be bound."""
        check_mac(mac)
        self._unbound("the MAC address")
        self._configure(mac=mac)
        self._device.net.mac = mac
        return self._device.filter_effects() + self._virtio.config_changed()

    def set_mtu(self, mtu: int) -> Effects:
        """Another MTU; no driver may be bound, since it must not change under one (virtio 1.3 §5.1.4.1)."""
        check_mtu(mtu)
        self._unbound("the MTU")
        self._configure(mtu=mtu)
        return self._device.limit_effects() + self._virtio.config_changed()

    def set_link(self, up: bool) -> Effects:
        """Link up or down; a running driver is told."""
        if up == self.state.config.link_up:
            return NOTHING
        self._configure(link_up=up)
        return self._device.link_effects() + self._virtio.config_changed()

    def set_speed(self, speed: int) -> Effects:
        """The speed shown to the driver, Mb/s; a running driver is told."""
        check_speed(speed)
        if speed == self.state.config.speed:
            return NOTHING
        self._configure(speed=speed)
        return self._virtio.config_changed()

    def set_moderation(self, **changes: int | str) -> Effects:
        """How interrupts are held back, fields of ``Moderation``: the last word on it, until the driver has another."""
        self._configure(moderation=moderated(self.state.config.moderation, changes))
        self.state.net.coalescing = CoalescingState()
        return self._device.moderation_effects()

    def set_rx_mode(self, modes: int) -> Effects:
        """Which frames come in, bits of ``filters.MODES``: likewise, and mode by mode."""
        check_rx_mode(modes)
        self._configure(rx_mode=modes)
        self.state.net.filter = in_mode(self.state.net.filter, modes)
        return self._device.filter_effects()

    def set_state(self, status: int) -> Effects:
        """A device status that a device can come to by itself: NEEDS_RESET, or 0 where no driver is at work."""
        if status == self.status:
            return NOTHING
        if status == 0:
            if not self.status & (v.FAILED | v.NEEDS_RESET):
                self._unbound("the device status")
            return self.reset()
        if status not in (v.NEEDS_RESET, self.status | v.NEEDS_RESET):
            raise BadSetting(
                f"state {status:#x} is the driver's to set, which is at {self.status:#x}: a device itself can ask its "
                f"driver for a reset ({v.NEEDS_RESET:#x}) or be reset (0)"
            )
        if self.transitional_mode != "modern":
            raise BadSetting("there is no driver that could be asked for a reset: legacy ones do not know of it")
        return self._virtio.ask_for_reset()

    def announce(self) -> Effects:
        """Asks the driver to make itself known on the network (§5.1.6.5.4), where it has agreed to."""
        if not (self._device.has(f.NET_GUEST_ANNOUNCE) and self.status & v.DRIVER_OK):
            return note("not announced: no running driver has accepted VIRTIO_NET_F_GUEST_ANNOUNCE", "info")
        self._device.net.announce = True
        return self._virtio.config_changed()

    def enable_vfs(self, number: int) -> Effects:
        """What a host's PCI core writes to have so many VFs, and to have none (PCIe 5.0 §9.3.3)."""
        control = VF_ENABLE | VF_MEMORY_ENABLE if number else 0
        writes = [("num_vfs", number), ("control", control)]
        result = NOTHING
        for name, value in writes if number else reversed(writes):
            result += self._write_config(self._space.sriov_at + SRIOV.offset(name), value.to_bytes(2, "little"))
        return result

    def start_effects(self) -> Effects:
        """What brings a port that knows nothing to this function's present state."""
        held = effects(Freeze(True)) if self.state.virtio.held else NOTHING
        port = self._device.port_effects() + self._interrupts() + self._config_vector()
        return held + port + self._virtio.start_all()

    def _config_vector(self) -> Effects:
        return effects(SetConfigVector(self.state.virtio.config_vector))

    def _unbound(self, what: str) -> None:
        if self._virtio.bound:
            raise DriverBound(f"{what} cannot be changed while a driver is bound: unbind the driver in the guest first")

    def _configure(self, **changes: object) -> None:
        self.state.config = msgspec.structs.replace(self.state.config, **changes)

    # ---- what there is to see

    @property
    def device_features(self) -> int:
        """All feature bits on offer."""
        return offered(self.state.config)

    @property
    def driver_features(self) -> int:
        """The bits that the driver wrote."""
        return self.state.virtio.driver_features

    @property
    def status(self) -> int:
        """The device status register."""
        return self.state.virtio.status

    @property
    def enabled_queues(self) -> int:
        """How many queues the driver has enabled."""
        return sum(queue.enabled for queue in self.state.virtio.queues)

    @property
    def queues(self) -> tuple[QueueView, ...]:
        """All virtqueues."""
        return tuple(self._view(index, queue) for index, queue in enumerate(self.state.virtio.queues))

    def _view(self, index: int, queue: QueueState) -> QueueView:
        size, addresses = self._virtio.size_of(queue), (queue.descriptor, queue.driver, queue.device)
        return QueueView(index, size, queue.vector, queue.enabled, index, *addresses)

    def coalescing(self, queue: int) -> SetCoalescing:
        """How a queue's interrupts are held back."""
        return of_queue(self.state.config, self.state.net.coalescing, queue)

    @property
    def rx_mode(self) -> int:
        """Which frames come in: bits of ``filters.MODES``."""
        return rx_mode(self.state.net.filter)

    @property
    def transitional_mode(self) -> Mode | None:
        """Which interface the driver uses; None: no driver since the last reset."""
        return self.state.virtio.mode

    @property
    def faults(self) -> tuple[str, ...]:
        """The most recent rules that a driver broke, oldest first."""
        return self.state.virtio.faults

    @property
    def decoding(self) -> bool:
        """Whether the command register lets the function answer in memory or I/O space."""
        return self._space.decoding

    @property
    def total_vfs(self) -> int:
        """How many VFs the function can have."""
        return self.state.config.sriov.total if self.state.config.sriov else 0

    @property
    def enabled_vfs(self) -> int:
        """How many VFs the host has enabled."""
        return self._space.enabled_vfs

    @property
    def configuration_space(self) -> bytes:
        """The registers as they stand; looking at them does nothing."""
        return self._space.content

    @property
    def bars(self) -> tuple[Bar, ...]:
        """The function's base address registers."""
        return self._plan.bars

    @property
    def admin_queue(self) -> int | None:
        """The index of the administration virtqueue, where there is one."""
        return self._device.admin_queue

    @property
    def owner(self) -> Owner:
        """The owner's side of its device groups. Its ``group`` is for whoever has the VFs to set."""
        return self._device.owner

    @property
    def negotiation(self) -> list[Verdict]:
        """Each feature bit: offered, accepted, and why or why not."""
        config, virtio = self.state.config, self.state.virtio
        accepted = self._virtio.features
        return Negotiation(offered(config), withheld(config), virtio.driver_features, accepted, virtio.mode).explain()


class _WindowAccess(NamedTuple):
    """An access to the modern BAR by way of configuration space."""

    region: ModernRegion
    offset: int
    length: int

    def read(self, isr: int) -> tuple[bytes, Effects]:
        return self.region.read(self.offset, self.length, isr)

    def write(self, data: bytes) -> Effects:
        return self.region.write(self.offset, data[: self.length])
