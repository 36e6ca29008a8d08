"""What is at the QMP path when it is not a QEMU that listens: each is a sentence with its cause."""

import asyncio
from pathlib import Path

import pytest

from softdpu.host.errors import HostUnreachable
from softdpu.host.interface import Back
from softdpu.host.monitor import Monitor
from softdpu.host.qemu import QemuHost
from tests.host.machines import Events, attached, machine


async def attach(path: Path) -> None:
    host = QemuHost(path, "vm1")
    try:
        await host.attach()
    finally:
        await host.close()


async def test_missing_path(qmp: Path) -> None:
    with pytest.raises(HostUnreachable, match=r"No such file or directory\. Start QEMU with -qmp unix:") as caught:
        await attach(qmp)
    assert caught.value.ended


async def test_path_that_is_a_file(qmp: Path) -> None:
    await asyncio.to_thread(qmp.touch)
    with pytest.raises(HostUnreachable, match="is not a socket") as caught:
        await attach(qmp)
    assert not caught.value.ended


async def test_path_longer_than_a_socket_name(qmp: Path) -> None:
    with pytest.raises(HostUnreachable):
        await attach(qmp.parent / ("x" * 200))


async def test_socket_that_nobody_serves_any_more(qmp: Path) -> None:
    async with machine(qmp):
        pass
    with pytest.raises(HostUnreachable, match="nobody listens there any more"):
        await attach(qmp)


async def serve(path: Path, greeting: bytes) -> asyncio.Server:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(greet, path)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"[]\n", b'{"hello": 1}\n', b"\xff\xfe\n"])
async def test_server_that_speaks_something_else(qmp: Path, greeting: bytes) -> None:
    async with await serve(qmp, greeting):
        with pytest.raises(HostUnreachable, match="does not speak QMP"):
            await attach(qmp)


async def test_server_that_hangs_up(qmp: Path) -> None:
    async with await serve(qmp, b""):
        with pytest.raises(HostUnreachable, match="closes the connection without a word"):
            await attach(qmp)


async def test_qmp_socket_that_another_client_holds(qmp: Path) -> None:
    """QEMU serves one client a socket; the second is accepted by the kernel and never greeted."""
    async with machine(qmp), attached(qmp):
        second = Monitor("vm1", qmp, lambda *_: None, lambda _: None)
        with pytest.raises(HostUnreachable, match="another client may hold this socket"):
            await second.connect(timeout=0.5)


async def test_start_waits_for_a_machine_that_comes_later(qmp: Path) -> None:
    host, events = QemuHost(qmp, "vm1"), Events()
    await host.start(events)
    assert not host.connected
    async with machine(qmp):
        assert await events.next() == Back(())
        assert host.connected
    await host.close()
