"""A QEMU host against a real QEMU, with QEMU's own devices where the rule is about ports and not about ours."""

import asyncio
from pathlib import Path

import pytest

from softdpu.host.choice import Place
from softdpu.host.errors import (
    DeviceIdTaken,
    GuestKeepsDevice,
    HostBlocked,
    HostGone,
    HostRefused,
    MemoryNotShared,
    NoFreePort,
    SocketUnreachable,
)
from softdpu.host.interface import Back, Gone, Removed
from softdpu.host.monitor import Monitor
from softdpu.host.qemu import QemuHost
from softdpu.pci.windows import MOST_WINDOWS, NoIoWindow
from tests.host.machines import Q35, SHARED, Events, attached, machine, root_ports

NIC = {"driver": "virtio-net-pci-transitional"}


async def add(host: QemuHost, device_id: str, *, transitional: bool = True) -> Place:
    return await host.add(device_id, NIC, transitional=transitional)


async def until_numbered(host: QemuHost, device_id: str) -> None:
    """Waits until the firmware has given the buses their numbers."""
    async with asyncio.timeout(20):
        while await host.address(device_id) is None:
            await asyncio.sleep(0.05)


async def until_opened(host: QemuHost) -> None:
    """Waits until the firmware has opened a window, which it does after it has numbered the buses."""
    async with asyncio.timeout(20):
        while (await host.topology()).foreseen:
            await asyncio.sleep(0.05)


async def test_version_is_known(qmp: Path) -> None:
    async with machine(qmp), attached(qmp) as host:
        assert host.version is not None
        assert host.version.startswith("11.")


async def test_each_device_gets_a_port_of_its_own(qmp: Path) -> None:
    async with machine(qmp, [*Q35, *root_ports(2)], running=False), attached(qmp) as host:
        assert [await add(host, "a"), await add(host, "b")] == [Place("rp0", 0), Place("rp1", 0)]


async def test_devices_added_at_once_get_different_ports(qmp: Path) -> None:
    async with machine(qmp, [*Q35, *root_ports(4)], running=False), attached(qmp) as host:
        places = await asyncio.gather(*(add(host, f"d{n}") for n in range(4)))
        assert len(set(places)) == 4


async def test_full_host_is_refused(qmp: Path) -> None:
    async with machine(qmp, [*Q35, *root_ports(1)]), attached(qmp) as host:
        await add(host, "a")
        await until_numbered(host, "a")
        with pytest.raises(NoFreePort, match=r"rp0 is taken"):
            await add(host, "b", transitional=False)
        with pytest.raises(NoIoWindow, match=r"= 1 windows .* 1 used, 0 free"):
            await add(host, "b")


async def test_port_that_is_taken_before_anybody_can_see_it_is_passed_over(qmp: Path) -> None:
    """Before the buses are numbered, QEMU's refusal is the only sign."""
    async with machine(qmp, [*Q35, *root_ports(2)], running=False), attached(qmp) as host:
        host.boot_patience = 0
        assert [await add(host, "a"), await add(host, "b")] == [Place("rp0", 0), Place("rp1", 0)]
        with pytest.raises(NoFreePort, match="rp0 takes no further device; rp1 takes no further device"):
            await add(host, "c")


async def test_port_without_hot_plug_is_passed_over(qmp: Path) -> None:
    ports = ["-device", "pcie-root-port,id=off,chassis=9,hotplug=off", *root_ports(1)]
    async with machine(qmp, [*Q35, *ports], running=False), attached(qmp) as host:
        assert await add(host, "a", transitional=False) == Place("rp0", 0)
        assert (await host.topology()).unusable == ("off was started with hotplug=off",)


async def test_port_that_reserves_no_io_is_no_place_for_a_transitional_device(qmp: Path) -> None:
    ports = ["-device", "pcie-root-port,id=dry,chassis=9,io-reserve=0"]
    async with machine(qmp, [*Q35, *ports], running=False), attached(qmp) as host:
        with pytest.raises(NoIoWindow, match="dry: it was started with io-reserve=0"):
            await add(host, "a")
        assert await add(host, "a", transitional=False) == Place("dry", 0)


async def test_empty_port_without_a_window_is_waited_for_and_then_refused(qmp: Path) -> None:
    """The firmware opened the other port's window, for its device; no kernel comes here that would open this one's."""
    ports = [*root_ports(2), "-device", "virtio-net-pci-transitional,bus=rp0,id=first"]
    async with machine(qmp, [*Q35, *ports]), attached(qmp) as host:
        await until_opened(host)
        host.boot_patience = 2
        with pytest.raises(NoIoWindow, match=r"rp0: its slot is taken; rp1: it has no I/O window"):
            await add(host, "a")


async def test_i440fx_takes_devices_on_its_root_bus(qmp: Path) -> None:
    async with machine(qmp, [*SHARED, "-machine", "pc,memory-backend=mem"]), attached(qmp) as host:
        place = await add(host, "a")
        assert place.bus == "pci.0"
        assert await host.address("a") == f"00:{place.slot:02x}.0"


async def test_fourteen_of_sixteen_ports_are_foreseen_a_window(qmp: Path) -> None:
    async with machine(qmp, [*Q35, *root_ports(16)], running=False), attached(qmp) as host:
        assert (await host.budget()).free == MOST_WINDOWS
        assert (await add(host, "a")).bus == "rp2"


async def test_sixteen_devices_fit_behind_one_bridge(qmp: Path) -> None:
    """One window of 4 KiB: 16 I/O BARs, not 64."""
    bridge = [*root_ports(1), "-device", "pcie-pci-bridge,id=cb,bus=rp0"]
    async with machine(qmp, [*Q35, *bridge]), attached(qmp) as host:
        await until_numbered(host, "cb")
        for number in range(16):
            assert await add(host, f"d{number}") == Place("cb", number + 1)
        with pytest.raises(NoIoWindow, match=r"1 windows .* 16 places .* 16 used, 0 free"):
            await add(host, "d16")
        assert (await add(host, "d16", transitional=False)).slot == 17


async def test_address_is_known_once_the_firmware_numbered_the_buses(qmp: Path) -> None:
    async with machine(qmp, [*Q35, *root_ports(1)], running=False), attached(qmp) as host:
        await add(host, "a")
        assert await host.address("a") is None
    async with machine(qmp, [*Q35, *root_ports(1)]), attached(qmp) as host:
        await add(host, "a")
        await until_numbered(host, "a")
        assert await host.address("a") == "01:00.0"


async def test_id_that_is_taken_is_refused(qmp: Path) -> None:
    async with machine(qmp, [*Q35, *root_ports(2)], running=False), attached(qmp) as host:
        await add(host, "a")
        with pytest.raises(DeviceIdTaken, match="has a device a already"):
            await add(host, "a")


async def test_private_memory_is_refused_with_the_cure(qmp: Path) -> None:
    async with machine(qmp, ["-machine", "q35", "-m", "64M", *root_ports(1)]), attached(qmp) as host:
        with pytest.raises(MemoryNotShared, match=r"pc\.ram.*share=on -machine …,memory-backend=mem"):
            await host.plug(qmp, "a", transitional=True, vectors=4)


async def test_share_off_is_refused_although_it_has_a_descriptor(qmp: Path) -> None:
    private = ["-object", "memory-backend-memfd,id=mem,size=64M,share=off", "-m", "64M"]
    async with machine(qmp, [*private, "-machine", "q35,memory-backend=mem"]), attached(qmp) as host:
        with pytest.raises(MemoryNotShared, match=r"private \(mem\)"):
            await host.plug(qmp, "a", transitional=True, vectors=4)


async def test_socket_that_nobody_serves_is_refused_and_leaves_nothing(qmp: Path) -> None:
    async with machine(qmp, [*Q35, *root_ports(1)]), attached(qmp) as host:
        with pytest.raises(SocketUnreachable, match="No such file or directory"):
            await host.plug(Path("/run/no-such.sock"), "a", transitional=True, vectors=4)
        assert await host.devices() == ()
        assert (await host.budget()).free == 1


async def test_other_refusals_carry_qemus_words(qmp: Path) -> None:
    async with machine(qmp, [*Q35, *root_ports(1)]), attached(qmp) as host:
        with pytest.raises(HostRefused, match=r"vm1 refused device_add: .*no-such-driver"):
            await host.add("a", {"driver": "no-such-driver"}, transitional=False)


async def test_unplug_of_an_absent_device_is_done_at_once(qmp: Path) -> None:
    async with machine(qmp), attached(qmp) as host:
        await host.unplug("never-there", vectors=0)


async def test_unplug_that_the_guest_does_not_serve_ends_in_a_sentence(qmp: Path) -> None:
    """There is no operating system here that could release the device."""
    async with machine(qmp, [*Q35, *root_ports(1)]), attached(qmp) as host:
        await add(host, "a")
        with pytest.raises(GuestKeepsDevice, match=r"keeps a: it did not release it within 0\.5 s"):
            await host.unplug("a", vectors=0, timeout=0.5)


async def test_blocked_machine_is_a_sentence_and_comes_back(qmp: Path) -> None:
    async with machine(qmp) as vm:
        monitor = Monitor("vm1", qmp, lambda *_: None, lambda _: None)
        await monitor.connect()
        vm.freeze()
        with pytest.raises(HostBlocked, match=r"did not answer query-status within 0\.3 s"):
            await monitor.execute("query-status", timeout=0.3)
        vm.thaw()
        assert (await monitor.execute("query-status"))["running"] is True
        await monitor.close()


async def test_machine_that_ends_during_a_command(qmp: Path) -> None:
    async with machine(qmp) as vm, attached(qmp) as host:
        vm.freeze()
        waiting = asyncio.create_task(host.devices())
        await asyncio.sleep(0.1)
        vm.end()
        with pytest.raises(HostGone, match="went away during qom-list"):
            await waiting


async def test_end_and_return_of_a_machine_are_told_in_order(qmp: Path) -> None:
    host, events = QemuHost(qmp, "vm1"), Events()
    async with machine(qmp):
        await host.start(events)
        assert await events.next() == Back(())
    assert await events.next() == Gone()
    async with machine(qmp):
        assert await events.next() == Back(())
        await host.check()
    await host.close()


async def test_machine_that_came_back_is_used_without_waiting(qmp: Path) -> None:
    async with machine(qmp):
        host = QemuHost(qmp, "vm1")
        await host.attach()
    async with machine(qmp):
        await host.check()
    await host.close()


async def test_unplug_from_a_machine_that_has_ended_is_done(qmp: Path) -> None:
    async with machine(qmp):
        host = QemuHost(qmp, "vm1")
        await host.attach()
    await host.unplug("a", vectors=4)
    await host.close()


async def test_device_that_leaves_on_its_own_is_told(qmp: Path) -> None:
    """Before the guest runs, another client's device_del takes effect at once."""
    host, events = QemuHost(qmp, "vm1"), Events()
    async with machine(qmp, [*Q35, *root_ports(1)]):
        await host.start(events)
        await add(host, "a")
        assert await events.next() == Back(())
        with pytest.raises(GuestKeepsDevice):
            await host.unplug("a", vectors=0, timeout=0.1)
        assert host._monitor is not None
        await host._monitor.execute("system_reset")
        assert await events.next() == Removed("a")
    await host.close()


async def test_listener_that_fails_does_not_end_the_session(qmp: Path, caplog: pytest.LogCaptureFixture) -> None:
    def listener(event: object) -> None:
        raise RuntimeError("a listener's mistake")

    async with machine(qmp):
        host = QemuHost(qmp, "vm1")
        await host.start(listener)
        await host.check()
        await host.close()
    assert "the listener of host vm1 failed" in caplog.text
