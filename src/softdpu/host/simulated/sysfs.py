"""/sys/bus/pci and /sys/module of the simulated host, as trees whose files ask and tell its kernel."""

from collections.abc import Callable, Mapping
from functools import partial

from softdpu.host.simulated.functions import PciFunction
from softdpu.host.simulated.kernel import Kernel
from softdpu.host.simulated.modules import MODULES, Driver
from softdpu.host.simulated.resources import Placed, assigned, lay_out
from softdpu.host.simulated.tree import Directory, File, Link, Node, fixed, order, text
from softdpu.spec import virtio_pci as v

LINES = 13  # of a "resource" file: six BARs, the ROM, six VF BARs
MODERN_NET = v.MODERN_DEVICE_BASE + v.NET_DEVICE_TYPE  # what every VF is
NOTHING = "0x0000000000000000 0x0000000000000000 0x0000000000000000"


def bus_pci(kernel: Kernel) -> Directory:
    """/sys/bus/pci."""
    return fixed(
        {
            "devices": Directory(lambda: _devices(kernel)),
            "drivers": Directory(lambda: _drivers(kernel)),
            "slots": fixed({}),
            "drivers_autoprobe": text(lambda: 1),
            "drivers_probe": order(kernel.probe),
        }
    )


def modules(kernel: Kernel) -> Directory:
    """/sys/module."""
    return Directory(lambda: {name: _module(kernel, name) for name in kernel.loaded})


# ---- devices


def _devices(kernel: Kernel) -> Mapping[str, Node]:
    return {address: _device(kernel, function) for address, function in kernel.functions().items()}


def _device(kernel: Kernel, function: PciFunction) -> Directory:
    def entries() -> Mapping[str, Node]:
        return {**_attributes(kernel, function), **_links(kernel, function), **_sriov(kernel, function)}

    return Directory(entries)


def _attributes(kernel: Kernel, function: PciFunction) -> dict[str, Node]:
    address = function.address

    def number(register: str, digits: int) -> File:
        return text(lambda: f"0x{function.number(register):0{digits}x}")

    return {
        "vendor": number("vendor_id", 4),
        "device": number("device_id", 4),
        "subsystem_vendor": number("subsystem_vendor_id", 4),
        "subsystem_device": number("subsystem_id", 4),
        "class": number("class_code", 6),
        "revision": number("revision", 2),
        "irq": text(lambda: function.number("interrupt_line")),
        "config": File(lambda: assigned(function, _bars(kernel, function))),
        "resource": File(lambda: _resource(kernel, function)),
        "enable": text(lambda: int(kernel.driver_of(address) is not None)),
        "numa_node": text(lambda: -1),
        "modalias": text(lambda: _alias(function)),
        "uevent": File(lambda: _uevent(kernel, function)),
        "driver_override": text(
            lambda: kernel.overrides.get(address, "(null)"), lambda name: kernel.override(address, name)
        ),
        "softdpu_socket": text(lambda: function.socket),
    }


def _links(kernel: Kernel, function: PciFunction) -> dict[str, Node]:
    links: dict[str, Node] = {}
    driver = kernel.driver_of(function.address)
    if driver is not None:
        links["driver"] = Link(f"../../drivers/{driver}")
    if kernel.profile.iommu:
        links["iommu_group"] = Link(f"../../../../kernel/iommu_groups/{_group(function)}")
    if function.physfn is not None:
        links["physfn"] = Link(f"../{function.physfn}")
    links.update({f"virtfn{n}": Link(f"../{vf}") for n, vf in enumerate(function.vfs)})
    return links


def _sriov(kernel: Kernel, function: PciFunction) -> dict[str, Node]:
    if not function.total_vfs:
        return {}
    address = function.address

    def autoprobe(line: str) -> None:
        kernel.autoprobe[address] = line not in ("0", "n", "N")

    return {
        "sriov_totalvfs": text(lambda: function.total_vfs),
        "sriov_numvfs": text(lambda: len(function.vfs), lambda line: kernel.set_numvfs(address, line)),
        "sriov_drivers_autoprobe": text(lambda: int(kernel.autoprobe.get(address, True)), autoprobe),
        "sriov_vf_device": text(lambda: f"{MODERN_NET:x}"),
    }


def _resource(kernel: Kernel, function: PciFunction) -> bytes:
    bars = _bars(kernel, function)
    lines = [bars[index].line if index in bars else NOTHING for index in range(LINES)]
    return "".join(f"{line}\n" for line in lines).encode()


def _bars(kernel: Kernel, function: PciFunction) -> Mapping[int, Placed]:
    return lay_out(kernel.functions().values()).of(function.address)


def _alias(function: PciFunction) -> str:
    kind = function.number("class_code")
    return (
        f"pci:v{function.identity[0]:08X}d{function.identity[1]:08X}"
        f"sv{function.number('subsystem_vendor_id'):08X}sd{function.number('subsystem_id'):08X}"
        f"bc{kind >> 16:02X}sc{kind >> 8 & 0xFF:02X}i{kind & 0xFF:02X}"
    )


def _uevent(kernel: Kernel, function: PciFunction) -> bytes:
    driver = kernel.driver_of(function.address)
    lines = [f"DRIVER={driver}"] if driver else []
    lines += [
        f"PCI_CLASS={function.number('class_code'):X}",
        f"PCI_ID={function.identity[0]:04X}:{function.identity[1]:04X}",
        f"PCI_SLOT_NAME={function.address}",
        f"MODALIAS={_alias(function)}",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _group(function: PciFunction) -> int:
    bus, device, number = function.address[5:7], function.address[8:10], function.address[11:]
    return int(bus, 16) << 8 | int(device, 16) << 3 | int(number, 16)


# ---- drivers and modules


def _drivers(kernel: Kernel) -> Mapping[str, Node]:
    return {driver.name: _driver(kernel, driver) for driver in kernel.drivers()}


def _driver(kernel: Kernel, driver: Driver) -> Directory:
    module = next(name for name in kernel.loaded if driver in MODULES[name].drivers)

    def told(act: Callable[[str, str], None]) -> File:
        return order(lambda line: act(driver.name, line))

    def entries() -> Mapping[str, Node]:
        bound: dict[str, Node] = {address: Link(f"../../devices/{address}") for address in kernel.bound_to(driver.name)}
        return {
            "bind": told(kernel.bind),
            "unbind": told(kernel.unbind),
            "new_id": told(kernel.new_id),
            "remove_id": told(kernel.remove_id),
            "module": Link(f"../../../../module/{module}"),
            **bound,
        }

    return Directory(entries)


def _module(kernel: Kernel, name: str) -> Directory:
    def parameters() -> Mapping[str, Node]:
        return {key: text(partial(_flag, on)) for key, on in kernel.loaded[name].items()}

    return fixed(
        {
            "coresize": text(lambda: MODULES[name].size),
            "refcnt": text(lambda: len(kernel.users(name))),
            "initstate": text(lambda: "live"),
            "holders": Directory(lambda: {user: Link(f"../../{user}") for user in kernel.users(name)}),
            "parameters": Directory(parameters),
        }
    )


def _flag(on: bool) -> str:
    return "Y" if on else "N"
