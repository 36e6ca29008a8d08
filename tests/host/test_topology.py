"""Buses that take devices, from answers to query-pci shaped as QEMU 11.1 gives them."""

from collections.abc import Mapping
from typing import Any

import pytest

from softdpu.host.choice import Place, choose
from softdpu.host.errors import NoFreePort
from softdpu.host.topology import Properties, address, topology
from softdpu.pci.windows import Bridge, NoIoWindow, Range

Device = dict[str, Any]
CLOSED = (0xF000, 0x0FFF)


def device(bus: int, slot: int, qdev_id: str = "", *, io: int | None = None) -> Device:
    regions = [] if io is None else [{"bar": 0, "type": "io", "address": io, "size": 64}]
    identity = {"vendor": 0x1AF4, "device": 0x1000}
    return {"bus": bus, "slot": slot, "function": 0, "qdev_id": qdev_id, "id": identity, "regions": regions}


def bridge(
    slot: int,
    qdev_id: str,
    secondary: int,
    *behind: Device,
    identity: int = 0x1B36000C,
    bus: int = 0,
    io: tuple[int, int] = CLOSED,
) -> Device:
    found = device(bus, slot, qdev_id) | {"id": {"vendor": identity >> 16, "device": identity & 0xFFFF}}
    window = {"number": bus, "secondary": secondary, "io_range": {"base": io[0], "limit": io[1]}}
    return found | {"pci_bridge": {"bus": window, "devices": list(behind)}}


def machine(*devices: Device, i440fx: bool = False) -> list[Mapping[str, Any]]:
    host = device(0, 0) | {"id": {"vendor": 0x8086, "device": 0x1237 if i440fx else 0x29C0}}
    return [{"bus": 0, "devices": [host, *devices]}]


def plain(_: str) -> Properties:
    return Properties(hotplug=True, io_reserve=2**64 - 1)


def test_root_port_is_one_slot_with_its_window() -> None:
    found = topology(machine(bridge(1, "rp1", 1, io=(0x1000, 0x1FFF))), plain)
    assert found.bridges == (Bridge("rp1", "port", 0x1000, 0x1FFF, (0,)),)


def test_device_behind_a_port_takes_slot_and_ports() -> None:
    found = topology(machine(bridge(1, "rp1", 1, device(1, 0, "d1", io=0x1000), io=(0x1000, 0x1FFF))), plain)
    assert found.bridges[0].taken == (0,)
    assert found.bridges[0].claimed == (Range(0x1000, 64),)


def test_bar_without_an_address_is_waiting() -> None:
    """Between device_add and the guest's assignment QEMU shows address -1."""
    found = topology(machine(bridge(1, "rp1", 1, device(1, 0, "d1", io=-1), io=(0x1000, 0x1FFF))), plain)
    assert found.bridges[0].waiting == 1


def test_bridge_behind_a_port_is_where_devices_go() -> None:
    inner = bridge(0, "cb", 2, identity=0x1B36000E, bus=1, io=(0x1000, 0x1FFF))
    found = topology(machine(bridge(1, "rp1", 1, inner, io=(0x1000, 0x1FFF))), plain)
    assert choose("vm", found, transitional=True) == Place("cb", 1)


def test_port_without_hot_plug_is_named_as_unusable() -> None:
    found = topology(machine(bridge(1, "rp1", 1)), lambda _: Properties(hotplug=False))
    assert found.bridges == ()
    assert found.unusable == ("rp1 was started with hotplug=off",)


def test_port_without_id_is_named_by_its_address() -> None:
    found = topology(machine(bridge(5, "", 1)), plain)
    assert found.unusable == ("the bridge at 00:05.0 has no id",)


def test_i440fx_takes_devices_on_its_root_bus() -> None:
    found = topology(machine(device(0, 1), device(0, 2), i440fx=True), plain)
    assert choose("vm", found, transitional=True) == Place("pci.0", 3)


def test_q35_takes_none_on_its_root_bus() -> None:
    with pytest.raises(NoFreePort, match="it has none at all"):
        choose("vm", topology(machine(), plain), transitional=False)


def test_transitional_device_goes_where_a_window_is() -> None:
    found = topology(machine(bridge(1, "rp1", 1), bridge(2, "rp2", 2, io=(0x1000, 0x1FFF))), plain)
    assert choose("vm", found, transitional=True) == Place("rp2", 0)


def test_modern_device_leaves_windows_to_those_who_need_them() -> None:
    found = topology(machine(bridge(1, "rp1", 1, io=(0x1000, 0x1FFF)), bridge(2, "rp2", 2)), plain)
    assert choose("vm", found, transitional=False) == Place("rp2", 0)


def test_port_that_reserves_no_io_never_takes_a_transitional_device() -> None:
    """It would look assigned, but the port decodes no I/O: the guest's driver fails with -2."""
    found = topology(machine(bridge(1, "rp1", 1)), lambda _: Properties(io_reserve=0))
    with pytest.raises(NoIoWindow, match="rp1: it was started with io-reserve=0"):
        choose("vm", found, transitional=True)
    assert choose("vm", found, transitional=False) == Place("rp1", 0)


def test_full_host_is_refused_with_what_takes_each_port() -> None:
    full = bridge(1, "rp1", 1, device(1, 0, "d1", io=0x1000), io=(0x1000, 0x1FFF))
    found = topology(machine(full, bridge(2, "", 2)), plain)
    with pytest.raises(NoFreePort, match=r"rp1 is taken; the bridge at 00:02.0 has no id"):
        choose("vm", found, transitional=False)
    with pytest.raises(NoIoWindow, match=r"\(8192 - 4096\)/4096 = 1 windows .* 1 used, 0 free"):
        choose("vm", found, transitional=True)


def test_bus_that_refused_is_passed_over() -> None:
    ports = machine(bridge(1, "rp1", 1, io=(0x1000, 0x1FFF)), bridge(2, "rp2", 2, io=(0x2000, 0x2FFF)))
    assert choose("vm", topology(ports, plain), transitional=True, without=frozenset({"rp1"})) == Place("rp2", 0)


def test_address_is_the_guests_bus_number() -> None:
    assert address(machine(bridge(1, "rp1", 0x14, device(0x14, 0, "d1"))), "d1") == "14:00.0"


def test_address_behind_an_unnumbered_bridge_is_unknown() -> None:
    """Before the firmware ran, every bus has number 0."""
    assert address(machine(bridge(1, "rp1", 0, device(0, 0, "d1"))), "d1") is None


def test_address_of_an_absent_device_is_unknown() -> None:
    assert address(machine(), "d1") is None
