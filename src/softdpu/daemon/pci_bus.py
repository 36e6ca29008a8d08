"""The DPU's functions as the simulated host's hardware: what they are comes from the controller, and the host's
virtio-pci drives them over their sockets, as a kernel would over the bus."""

import errno
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec

from softdpu.api.client import Client as Controller
from softdpu.controller.errors import OperatorError
from softdpu.host.simulated.functions import PciFunction
from softdpu.host.simulated.kernel import Refused
from softdpu.spec import features as f
from softdpu.spec.pci_extended import CAP_ID_SRIOV, EXTENDED_AT, NEXT_SHIFT, SRIOV, VF_ENABLE, VF_MEMORY_ENABLE
from softdpu.testkit import Client, Driver, GuestMemory, LegacyDriver, ModernDriver
from softdpu.testkit import PciFunction as Card
from softdpu.testkit.link import Disconnected, ProtocolBroken, RequestFailed
from softdpu.testkit.net import ALL_FEATURES, NegotiationFailed

WANTED = ALL_FEATURES | f.mask_of(f.SR_IOV)
MEMORY = 1 << 20  # bytes that the driver of a function has for its rings and buffers
PATIENCE = 30.0  # s for VFs to come or go
MOST_CAPABILITIES = 64
FRESH = 0.02  # s for which what was heard of the controller holds
DEVICE_TROUBLE = (NegotiationFailed, Disconnected, ProtocolBroken, RequestFailed, OSError)


def extended(card: Card, identity: int) -> int | None:
    """Where an extended capability of a function lies (PCIe 5.0 §7.6.3); None if it has none of that kind."""
    at = EXTENDED_AT
    for _ in range(MOST_CAPABILITIES):
        header = card.config(at, 4)
        if header & 0xFFFF == identity:
            return at
        at = header >> NEXT_SHIFT
        if at < EXTENDED_AT:
            break
    return None


@dataclass
class Driven:
    """A function that this host's virtio-pci has."""

    client: Client
    driver: Driver
    holds: ExitStack


class PciBus:
    """Implements ``softdpu.host.simulated.functions.Hardware``."""

    def __init__(self, controller: Controller, *, legacy_works: bool = True) -> None:
        self.controller = controller
        self.legacy_works = legacy_works
        self._driven: dict[str, Driven] = {}
        self._heard: tuple[float, Sequence[PciFunction]] = (-1.0, ())

    def functions(self) -> Sequence[PciFunction]:
        """Every function that no QEMU was given; none while the controller is away."""
        at, functions = self._heard
        if time.monotonic() - at > FRESH:
            functions = self._ask()
            self._heard = (time.monotonic(), functions)
        return functions

    def _ask(self) -> Sequence[PciFunction]:
        try:
            reply = self.controller.get("/v1/functions")
        except OperatorError:
            return self._heard[1]  # it restarts: functions stay, as they do for a VM
        return msgspec.convert(reply["functions"], list[PciFunction])

    def probe(self, driver: str, function: PciFunction, legacy: bool) -> None:
        """virtio-pci drives it; what hands functions to VMs only keeps others away. Raises OSError."""
        if driver == "virtio-pci":
            self._driven[function.address] = self._drive(function, legacy)
            self._heard = (-1.0, ())
        elif function.in_use:
            raise Refused(errno.EBUSY, f"{function.address} is in use by another VMM")

    def remove(self, driver: str, function: PciFunction) -> None:
        """Lets go of it: reset, as Linux does."""
        driven = self._driven.pop(function.address, None)
        if driven is not None:
            with driven.holds:
                driven.driver.stop()
        self._heard = (-1.0, ())

    def _drive(self, function: PciFunction, legacy: bool) -> Driven:
        with ExitStack() as stack:
            try:
                client = stack.enter_context(Client(function.socket))
                client.negotiate()
                memory = stack.enter_context(GuestMemory(MEMORY))
                memory.map_into(client)
                driver = self._driver(client, memory, legacy).start()
            except DEVICE_TROUBLE as error:
                raise Refused(errno.EIO, f"{function.address}: {error}") from error
            return Driven(client, driver, stack.pop_all())

    def _driver(self, client: Client, memory: GuestMemory, legacy: bool) -> Driver:
        card = ModernDriver(client, memory, wanted=WANTED, queue_size=16, buffers=8)
        if not (legacy and card.card.has_io_bar):
            return card
        if not self.legacy_works:
            raise Refused(errno.EIO, "a legacy driver cannot do DMA behind this kernel's IOMMU: intel_iommu=off")
        return LegacyDriver(client, memory, buffers=8)

    def set_vfs(self, function: PciFunction, count: int) -> None:
        """Writes the SR-IOV capability of a PF and waits until its VFs are there. Raises OSError."""
        driven = self._driven.get(function.address)
        if driven is None:
            raise Refused(errno.ENOENT, f"{function.address} is not driven by this host")
        card = driven.driver.card
        at = extended(card, CAP_ID_SRIOV)
        if at is None:
            raise Refused(errno.ENODEV, f"{function.address} has no SR-IOV capability")
        number, control = (("num_vfs", count), ("control", VF_ENABLE | VF_MEMORY_ENABLE if count else 0))
        for name, value in (number, control) if count else (control, number):
            card.set_config(at + SRIOV.offset(name), 2, value)
        self._wait_for_vfs(function.address, count)

    def _wait_for_vfs(self, address: str, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._heard = (-1.0, self._heard[1])
            if any(each.address == address and len(each.vfs) == count for each in self.functions()):
                return
            time.sleep(FRESH)
        raise Refused(errno.EIO, f"{address} has not {count} VFs {PATIENCE:.0f} s after it was told")
