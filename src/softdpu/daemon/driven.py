"""Functions that the simulated host's virtio-pci drives, with the test kit's drivers."""

import errno
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field

from softdpu.host.simulated.functions import PciFunction
from softdpu.host.simulated.kernel import Refused
from softdpu.host.simulated.virtio_vfio_pci import Command
from softdpu.spec import admin
from softdpu.spec import features as f
from softdpu.spec.admin import GroupType
from softdpu.spec.pci_extended import EXTENDED_AT, NEXT_SHIFT
from softdpu.testkit import AdminQueue, Client, Driver, GuestMemory, LegacyDriver, ModernDriver
from softdpu.testkit import PciFunction as Card
from softdpu.testkit.admin import CommandFailed
from softdpu.testkit.link import Disconnected, ProtocolBroken, RequestFailed
from softdpu.testkit.net import ALL_FEATURES, NegotiationFailed

WANTED = ALL_FEATURES | f.mask_of(f.SR_IOV, f.ADMIN_VQ)
USED = admin.LISTS | admin.LEGACY | admin.CAPABILITIES | admin.PARTS  # commands that Linux 6.13's virtio_pci uses
MEMORY = 1 << 20  # bytes that the driver of a function has for its rings and buffers
MOST_CAPABILITIES = 64
TROUBLE = (NegotiationFailed, CommandFailed, Disconnected, ProtocolBroken, RequestFailed, OSError)


@dataclass
class Driven:
    """A function that virtio-pci has. Hold ``turn`` while talking to it."""

    client: Client
    driver: Driver
    holds: ExitStack
    admin: AdminQueue | None = None
    commands: int = 0  # administration commands in use, of the SR-IOV group
    turn: threading.RLock = field(default_factory=threading.RLock)

    @property
    def gives_legacy(self) -> bool:
        """Whether members of its group can be driven by legacy commands."""
        return self.commands & admin.LEGACY == admin.LEGACY

    def let_go(self) -> None:
        """Reset, as Linux does."""
        with self.turn, self.holds:
            self.driver.stop()

    def extended(self, identity: int) -> int | None:
        """Where an extended capability lies (PCIe 5.0 §7.6.3); None if there is none of that kind."""
        at = EXTENDED_AT
        for _ in range(MOST_CAPABILITIES):
            header = self.driver.card.config(at, 4)
            if header & 0xFFFF == identity:
                return at
            at = header >> NEXT_SHIFT
            if at < EXTENDED_AT:
                break
        return None


def drive(function: PciFunction, *, legacy: bool, legacy_works: bool) -> Driven:
    """Takes a function to DRIVER_OK, and a PF's group into use. Raises OSError."""
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(function.socket))
            client.negotiate()
            memory = stack.enter_context(GuestMemory(MEMORY))
            memory.map_into(client)
            driver = _driver(Card(client).has_io_bar and legacy, legacy_works, client, memory).start()
            driven = Driven(client, driver, ExitStack())
            _use_group(driven)
        except TROUBLE as error:
            raise Refused(errno.EIO, f"{function.address}: {error}") from error
        driven.holds = stack.pop_all()
        return driven


def _driver(legacy: bool, legacy_works: bool, client: Client, memory: GuestMemory) -> Driver:
    if not legacy:
        return ModernDriver(client, memory, wanted=WANTED, queue_size=16, buffers=8)
    if not legacy_works:
        raise Refused(errno.EIO, "a legacy driver cannot do DMA behind this kernel's IOMMU: intel_iommu=off")
    return LegacyDriver(client, memory, buffers=8)


def _use_group(driven: Driven) -> None:
    """LIST_QUERY and LIST_USE, as virtio_pci does when it starts (virtio 1.3 §2.12.1)."""
    if isinstance(driven.driver, ModernDriver) and driven.driver.has(f.ADMIN_VQ):
        driven.admin = AdminQueue(driven.driver)
        driven.commands = driven.admin.list_query(GroupType.SRIOV) & USED
        driven.admin.list_use(GroupType.SRIOV, driven.commands)


class Member:
    """A VF by way of its PF's administration virtqueue. Implements ``passthrough.Owner``."""

    def __init__(self, owner: Driven, number: int) -> None:
        self._owner = owner
        self._number = number
        self._place: tuple[int, int] | None = None

    def legacy_read(self, command: Command, size: int) -> bytes:
        """LEGACY_COMMON_CFG_READ or LEGACY_DEV_CFG_READ. Raises OSError EIO."""
        with self._owner.turn:
            try:
                return self._admin.legacy_read(self._number, command.offset, size, configuration=command.configuration)
            except TROUBLE as error:
                raise Refused(errno.EIO, str(error)) from error

    def legacy_write(self, command: Command, data: bytes) -> None:
        """LEGACY_COMMON_CFG_WRITE or LEGACY_DEV_CFG_WRITE. Raises OSError EIO."""
        with self._owner.turn:
            try:
                self._admin.legacy_write(self._number, command.offset, data, configuration=command.configuration)
            except TROUBLE as error:
                raise Refused(errno.EIO, str(error)) from error

    def notify_place(self) -> tuple[int, int]:
        """BAR of the member and offset in it, asked once (LEGACY_NOTIFY_INFO). Raises OSError EIO."""
        if self._place is None:
            with self._owner.turn:
                entries = self._admin.notify_info(self._number)
            places = [(bar, offset) for flags, bar, offset in entries if flags == admin.NOTIFY_MEMBER]
            if not places:
                raise Refused(errno.EIO, "the owner names no place in the member to notify it")
            self._place = places[0]
        return self._place

    @property
    def _admin(self) -> AdminQueue:
        assert self._owner.admin is not None, "only a PF that gives legacy access has members"
        return self._owner.admin
