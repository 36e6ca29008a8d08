"""The DPU's functions as the simulated host's hardware: what they are comes from the controller, and the host's
drivers drive them over their sockets, as a kernel would over the bus."""

import errno
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from softdpu.api.client import Client as Controller
from softdpu.controller.errors import OperatorError
from softdpu.daemon.driven import Driven, Member, drive
from softdpu.daemon.passthrough import Passthrough, Trace
from softdpu.host.simulated.functions import PciFunction
from softdpu.host.simulated.kernel import Refused
from softdpu.spec import virtio_pci as v
from softdpu.spec.pci_extended import CAP_ID_SRIOV, SRIOV, VF_ENABLE, VF_MEMORY_ENABLE

PATIENCE = 30.0  # s for VFs to come or go
FRESH = 0.02  # s for which what was heard of the controller holds
MODERN_NET = v.MODERN_DEVICE_BASE + v.NET_DEVICE_TYPE


class PciBus:
    """Implements ``softdpu.host.simulated.functions.Hardware``. ``sockets`` is a directory for those of passthrough."""

    def __init__(self, controller: Controller, sockets: Path, *, legacy_works: bool = True) -> None:
        self.controller = controller
        self.legacy_works = legacy_works
        self.trace = Trace()
        self._sockets = sockets
        self._driven: dict[str, Driven] = {}
        self._passed: dict[str, Passthrough] = {}
        self._heard: tuple[float, Sequence[PciFunction]] = (-1.0, ())

    # ---- what is there

    def functions(self) -> Sequence[PciFunction]:
        """Every function that no QEMU was given; what was there last while the controller is away."""
        at, functions = self._heard
        if time.monotonic() - at > FRESH:
            functions = [self._as_driven(function) for function in self._ask()]
            self._heard = (time.monotonic(), functions)
            self._forget({function.address for function in functions})
        return functions

    def _forget(self, present: set[str]) -> None:
        """Functions that have gone take what their drivers held with them: there is nobody to reset any more."""
        for address in self._driven.keys() - present:
            self._driven.pop(address).holds.close()
        for address in self._passed.keys() - present:
            self._passed.pop(address).close()

    def _ask(self) -> Sequence[PciFunction]:
        try:
            reply = self.controller.get("/v1/functions")
        except OperatorError:
            return self._heard[1]  # it restarts: functions stay, as they do for a VM
        return msgspec.convert(reply["functions"], list[PciFunction])

    def _as_driven(self, function: PciFunction) -> PciFunction:
        passed = self._passed.get(function.address)
        return msgspec.structs.replace(function, socket=str(passed.path)) if passed else function

    def _look_again(self) -> None:
        self._heard = (-1.0, self._heard[1])

    # ---- drivers

    def probe(self, driver: str, function: PciFunction, legacy: bool) -> None:
        """virtio-pci drives it; what hands functions to VMs only keeps others away. Raises OSError."""
        if driver == "virtio-pci":
            self._driven[function.address] = drive(function, legacy=legacy, legacy_works=self.legacy_works)
        elif function.in_use:
            raise Refused(errno.EBUSY, f"{function.address} is in use by another VMM")
        elif driver == "virtio_vfio_pci":
            self._pass_on(function)
        self._look_again()

    def remove(self, driver: str, function: PciFunction) -> None:
        """Lets go of it."""
        driven = self._driven.pop(function.address, None)
        if driven is not None:
            driven.let_go()
        passed = self._passed.pop(function.address, None)
        if passed is not None:
            passed.close()
        self._look_again()

    def _pass_on(self, function: PciFunction) -> None:
        """A VF whose owner gives legacy access gets an I/O BAR; any other is handed on as it is."""
        pf = next((each for each in self.functions() if each.address == function.physfn), None)
        owner = self._driven.get(pf.address) if pf else None
        if pf is None or owner is None or not owner.gives_legacy or function.identity[1] != MODERN_NET:
            return
        member = Member(owner, 1 + pf.vfs.index(function.address))
        path = self._sockets / f"{function.vuid}.sock"
        self._passed[function.address] = Passthrough(function.address, path, function.socket, member, self.trace)

    # ---- SR-IOV

    def set_vfs(self, function: PciFunction, count: int) -> None:
        """Writes the SR-IOV capability of a PF and waits until its VFs are there. Raises OSError."""
        driven = self._driven.get(function.address)
        if driven is None:
            raise Refused(errno.ENOENT, f"{function.address} is not driven by this host")
        number, control = (("num_vfs", count), ("control", VF_ENABLE | VF_MEMORY_ENABLE if count else 0))
        with driven.turn:
            at = driven.extended(CAP_ID_SRIOV)
            if at is None:
                raise Refused(errno.ENODEV, f"{function.address} has no SR-IOV capability")
            for name, value in (number, control) if count else (control, number):
                driven.driver.card.set_config(at + SRIOV.offset(name), 2, value)
        self._wait_for_vfs(function.address, count)

    def _wait_for_vfs(self, address: str, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._look_again()
            if any(each.address == address and len(each.vfs) == count for each in self.functions()):
                return
            time.sleep(FRESH)
        raise Refused(errno.EIO, f"{address} has not {count} VFs {PATIENCE:.0f} s after it was told")
