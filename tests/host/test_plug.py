"""Functions of a real DPU plugged into a real QEMU through its QMP socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from softdpu.host.errors import FunctionHungUp, SocketUnreachable, UnplugWouldCrash
from softdpu.host.interface import Back, MigrationCancelled
from softdpu.host.qemu import QemuHost
from tests.dpu_under_test import Plugged
from tests.host.machines import Q35, Events, Machine, attached, machine, root_ports


@pytest.fixture
async def vm(qmp: Path, device: Plugged) -> AsyncIterator[Machine]:
    """Ends before the function does: QEMU does not survive a function that ends while its guest boots."""
    async with machine(qmp, [*Q35, *root_ports(3)]) as vm:
        yield vm


@pytest.fixture
async def host(vm: Machine) -> AsyncIterator[QemuHost]:
    async with attached(vm.path) as host:
        yield host


async def test_function_is_plugged_and_seen(host: QemuHost, device: Plugged) -> None:
    placement = await host.plug(device.socket, device.vuid, transitional=True, vectors=4)
    assert placement.bus == "rp0"
    assert await host.devices() == (device.vuid,)


async def test_restarted_controller_is_told_what_is_plugged(vm: Machine, device: Plugged) -> None:
    async with attached(vm.path) as host:
        await host.plug(device.socket, device.vuid, transitional=True, vectors=4)
    again, events = QemuHost(vm.path, "vm1"), Events()
    await again.start(events)
    assert await events.next() == Back((device.vuid,))
    await again.close()


async def test_function_that_another_machine_has_is_refused(qmp: Path, host: QemuHost, device: Plugged) -> None:
    """A function serves one VMM; the second finds the door closed, at once."""
    await host.plug(device.socket, device.vuid, transitional=True, vectors=4)
    second = qmp.with_name("qmp2")
    async with machine(second, [*Q35, *root_ports(1)]), attached(second) as other:
        with pytest.raises(FunctionHungUp, match="serves one VMM at a time"):
            await other.plug(device.socket, device.vuid, transitional=True, vectors=4)
        assert await other.devices() == ()


async def test_unplug_with_msix_is_refused_by_version_reason_and_cure(host: QemuHost, device: Plugged) -> None:
    placement = await host.plug(device.socket, device.vuid, transitional=True, vectors=4)
    with pytest.raises(UnplugWouldCrash, match=r"QEMU 11\..*it aborts.*MSI-X.*Power the guest down") as caught:
        await host.unplug(device.vuid, vectors=4)
    assert placement.caution == str(caught.value)
    assert await host.devices() == (device.vuid,)


async def test_migration_is_cancelled_before_the_switchover(vm: Machine, device: Plugged) -> None:
    """A small guest's migration can be over in an instant; it must not be."""
    host, events = QemuHost(vm.path, "vm1"), Events()
    await host.start(events)
    assert await events.next() == Back(())
    await host.plug(device.socket, device.vuid, transitional=True, vectors=4)
    assert host._monitor is not None
    for _ in range(5):
        await host._monitor.execute("migrate", {"uri": "exec:cat >/dev/null"})
        event = await events.next()
        assert isinstance(event, MigrationCancelled)
        assert device.vuid in event.sentence
        assert "dead device" in event.sentence
        async with asyncio.timeout(5):
            while (await host._monitor.execute("query-migrate"))["status"] != "cancelled":
                await asyncio.sleep(0.02)
        assert (await host._monitor.execute("query-status"))["running"] is True
    await host.close()


async def test_migration_of_a_host_without_functions_is_left_alone(vm: Machine) -> None:
    host, events = QemuHost(vm.path, "vm1"), Events()
    await host.start(events)
    assert host._monitor is not None
    await host._monitor.execute("migrate", {"uri": "exec:cat >/dev/null"})
    async with asyncio.timeout(10):
        while (await host._monitor.execute("query-migrate")).get("status") != "completed":
            await asyncio.sleep(0.05)
    assert [await events.next(), events.queue.empty()] == [Back(()), True]
    await host.close()


async def test_path_that_qemu_cannot_reach_is_named(host: QemuHost, tmp_path: Path) -> None:
    missing = tmp_path / "gone.sock"
    with pytest.raises(SocketUnreachable, match=r"cannot connect to .*gone\.sock"):
        await host.plug(missing, "d1", transitional=False, vectors=4)
