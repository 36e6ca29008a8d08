"""The simulated host's kernel: modules, drivers and what they are bound to, with the errors that Linux gives."""

import errno
from collections.abc import Iterator, Mapping

from softdpu.host.simulated.functions import Hardware, PciFunction
from softdpu.host.simulated.modules import AT_BOOT, MODULES, NO, YES, Driver, dependencies
from softdpu.host.simulated.profile import Profile


class Refused(OSError):
    """What the kernel answers, with the sentence that it logs."""


class Kernel:
    """A running kernel. Not for several threads at once."""

    def __init__(self, profile: Profile, hardware: Hardware) -> None:
        self.profile = profile
        self.hardware = hardware
        self.loaded: dict[str, dict[str, bool]] = {}  # parameters by module, in the order of loading
        self.added: dict[str, list[tuple[int, int]]] = {}  # ids by driver, that the operator added
        self.overrides: dict[str, str] = {}  # driver by address
        self.autoprobe: dict[str, bool] = {}  # of VFs, by the PF's address
        self.log: list[str] = [f"softdpu: {note}" for note in profile.notes()]
        self._bound: dict[str, str] = {}  # driver by address
        self._known: set[str] = set()
        for name in AT_BOOT:
            self.load(name, {})

    # ---- what is there

    def functions(self) -> dict[str, PciFunction]:
        """Every function by address. Those that are new have been offered to the drivers."""
        present = {function.address: function for function in self.hardware.functions()}
        for address in self._known - present.keys():
            self._bound.pop(address, None)
            self.overrides.pop(address, None)
        new = [function for address, function in present.items() if address not in self._known]
        self._known = set(present)
        for function in new:
            if function.physfn is None or self.autoprobe.get(function.physfn, True):
                self._offer(function)
        return present

    def function(self, address: str) -> PciFunction:
        """One of them, also by an address without a domain. Raises ENODEV."""
        functions = self.functions()
        for name in (address, f"0000:{address}"):
            if name in functions:
                return functions[name]
        raise Refused(errno.ENODEV, f"there is no PCI function {address}")

    def drivers(self) -> Iterator[Driver]:
        """Those of loaded modules, in the order of loading."""
        for module in self.loaded:
            yield from MODULES[module].drivers

    def driver_of(self, address: str) -> str | None:
        """The driver that a function is bound to."""
        return self._bound.get(address)

    def bound_to(self, driver: str) -> list[str]:
        """Addresses of what a driver has."""
        return sorted(address for address, name in self._bound.items() if name == driver)

    def users(self, module: str) -> list[str]:
        """Loaded modules that need this one."""
        return [name for name in self.loaded if module in MODULES[name].needs]

    # ---- modules

    def load(self, name: str, parameters: Mapping[str, str]) -> None:
        """modprobe: a module and what it needs. Raises ENOENT, EINVAL."""
        name = name.replace("-", "_")
        if name not in MODULES or (name == "virtio_vfio_pci" and not self.profile.has_virtio_vfio_pci):
            raise Refused(errno.ENOENT, f"Module {name} not found in directory /lib/modules/{self.profile.release}")
        values = {key: _boolean(name, key, value) for key, value in parameters.items()}
        for module in dependencies(name):
            if module not in self.loaded:
                self.loaded[module] = dict.fromkeys(MODULES[module].parameters, False)
                self.loaded[module].update(values if module == name else {})
                self._arrived(module)

    def unload(self, name: str) -> None:
        """modprobe -r: its functions are let go, and what nothing else needs goes too. Raises ENOENT, EBUSY."""
        name = name.replace("-", "_")
        if name not in self.loaded:
            raise Refused(errno.ENOENT, f"Module {name} is not currently loaded")
        if users := self.users(name):
            raise Refused(errno.EBUSY, f"Module {name} is in use by: {' '.join(users)}")
        for driver in MODULES[name].drivers:
            for address in self.bound_to(driver.name):
                self.unbind(driver.name, address)
            self.added.pop(driver.name, None)
        del self.loaded[name]
        for needed in MODULES[name].needs:
            if needed in self.loaded and not self.users(needed) and needed not in AT_BOOT:
                self.unload(needed)

    def _arrived(self, module: str) -> None:
        for driver in MODULES[module].drivers:
            self._attach_all(driver)

    # ---- binding

    def bind(self, driver: str, address: str) -> None:
        """drivers/X/bind. Raises ENODEV where it does not match, EBUSY where another has it."""
        function = self.function(address)
        if not self._matches(self._driver(driver), function):
            raise Refused(errno.ENODEV, f"{driver} has no id that matches {function.address}: write it to new_id")
        if function.address in self._bound:
            raise Refused(errno.EBUSY, f"{function.address} is bound to {self._bound[function.address]}")
        self._probe(self._driver(driver), function)

    def unbind(self, driver: str, address: str) -> None:
        """drivers/X/unbind. Raises ENODEV where it is not bound to it, EBUSY while a VMM has the function."""
        function = self.function(address)
        if self._bound.get(function.address) != driver:
            raise Refused(errno.ENODEV, f"{function.address} is not bound to {driver}")
        if self._driver(driver).vfio and function.in_use:
            raise Refused(errno.EBUSY, f"{function.address} is in use by a VM: a kernel would wait until it ends")
        if driver == "virtio-pci" and function.vfs:
            self.hardware.set_vfs(function, 0)  # the driver's remove disables them
        self.hardware.remove(driver, function)
        del self._bound[function.address]

    def new_id(self, driver: str, line: str) -> None:
        """drivers/X/new_id: "1af4 1041". Raises EINVAL, EEXIST."""
        identity = _identity(line)
        if identity[0] == self._driver(driver).vendor or identity in self.added.get(driver, []):
            raise Refused(errno.EEXIST, f"{driver} has that id")
        self.added.setdefault(driver, []).append(identity)
        self._attach_all(self._driver(driver))

    def remove_id(self, driver: str, line: str) -> None:
        """drivers/X/remove_id. Raises EINVAL, ENODEV."""
        identity = _identity(line)
        if identity not in self.added.get(driver, []):
            raise Refused(errno.ENODEV, f"nobody added that id to {driver}")
        self.added[driver].remove(identity)

    def probe(self, address: str) -> None:
        """drivers_probe: offers a function to the drivers. Raises ENODEV."""
        self._offer(self.function(address))

    def override(self, address: str, driver: str) -> None:
        """driver_override: the only driver that a function may have; none: any that matches."""
        if driver:
            self.overrides[address] = driver
        else:
            self.overrides.pop(address, None)

    def _offer(self, function: PciFunction) -> None:
        for driver in self.drivers():
            if function.address not in self._bound and self._matches(driver, function):
                self._try(driver, function)

    def _attach_all(self, driver: Driver) -> None:
        known = set(self._known)  # new ones are offered to every driver as they are found
        for address, function in self.functions().items():
            if address in known and address not in self._bound and self._matches(driver, function):
                self._try(driver, function)

    def _try(self, driver: Driver, function: PciFunction) -> None:
        try:
            self._probe(driver, function)
        except OSError as error:
            self.log.append(f"{driver.name} {function.address}: probe failed: {error.strerror}")

    def _probe(self, driver: Driver, function: PciFunction) -> None:
        if driver.vfio and not self.profile.iommu:
            raise Refused(errno.EINVAL, f"{function.address} is in no IOMMU group: this host has its IOMMU off")
        self.hardware.probe(driver.name, function, self.loaded.get("virtio_pci", {}).get("force_legacy", False))
        self._bound[function.address] = driver.name

    def _matches(self, driver: Driver, function: PciFunction) -> bool:
        if function.address in self.overrides:
            return self.overrides[function.address] == driver.name
        ids = self.added.get(driver.name, [])
        return function.identity[0] == driver.vendor or function.identity in ids

    def _driver(self, name: str) -> Driver:
        return next(driver for driver in self.drivers() if driver.name == name)

    # ---- SR-IOV

    def set_numvfs(self, address: str, line: str) -> None:
        """sriov_numvfs: VFs of a PF. Raises what Linux's PCI core and its virtio_pci answer."""
        function = self.function(address)
        count = _count(line)
        if count > function.total_vfs:
            raise Refused(errno.ERANGE, f"{address} has at most {function.total_vfs} VFs")
        if count == len(function.vfs):
            return
        if self._bound.get(function.address) != "virtio-pci":
            raise Refused(errno.ENOENT, f"{address} has no driver that could enable VFs: bind it to virtio-pci")
        if not self.profile.takes_sriov:
            raise Refused(errno.ENOSYS, f"the virtio_pci of kernel {self.profile.kernel} cannot enable VFs: 4.18 can")
        if count and function.vfs:
            enabled = len(function.vfs)
            raise Refused(errno.EBUSY, f"{enabled} VFs already enabled. Disable before enabling {count} VFs")
        if any(vf.in_use and self._vfio(vf.address) for vf in self._vfs(function)):
            raise Refused(errno.EPERM, "a VF of it is assigned to a VM")
        self.hardware.set_vfs(function, count)
        self.functions()

    def _vfs(self, function: PciFunction) -> list[PciFunction]:
        return [other for other in self.functions().values() if other.physfn == function.address]

    def _vfio(self, address: str) -> bool:
        driver = self._bound.get(address)
        return driver is not None and self._driver(driver).vfio


def _boolean(module: str, name: str, value: str) -> bool:
    if name not in MODULES[module].parameters or value not in YES + NO:
        raise Refused(errno.EINVAL, f"could not insert '{module}': Unknown symbol in module, or unknown parameter")
    return value in YES


def _identity(line: str) -> tuple[int, int]:
    """Vendor and device, hexadecimal with or without 0x; what may follow is not needed here."""
    try:
        vendor, device = (int(field, 16) for field in line.split()[:2])
    except ValueError:
        raise Refused(errno.EINVAL, f"{line!r} is no id, such as: 1af4 1041") from None
    return vendor, device


def _count(line: str) -> int:
    try:
        count = int(line, 0)
    except ValueError:
        raise Refused(errno.EINVAL, f"{line!r} is no number") from None
    if not 0 <= count <= 0xFFFF:
        raise Refused(errno.ERANGE if count > 0 else errno.EINVAL, f"{count} is no number of VFs")
    return count
