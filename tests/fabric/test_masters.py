"""The watch of masters, against real bridges."""

import asyncio
import logging
import os
import subprocess
from collections.abc import AsyncIterator

import pytest

from softdpu.fabric import representor
from softdpu.fabric.errors import NamespaceNotFound
from softdpu.fabric.masters import Masters
from softdpu.fabric.representor import Representor
from tests.fabric.namespaces import ip, open_descriptors, until

NAME = "en3f0pf0sf2000"
PATIENCE = 5  # seconds


class Changes:
    """What the watch has reported, to be awaited."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()

    def __call__(self, name: str, enslaved: bool) -> None:
        self.queue.put_nowait((name, enslaved))

    async def next(self) -> tuple[str, bool]:
        async with asyncio.timeout(PATIENCE):
            return await self.queue.get()


@pytest.fixture
async def made(netns: str) -> AsyncIterator[Representor]:
    one = await representor.create(NAME, netns, 1500)
    ip("-n", netns, "link", "add", "br0", "type", "bridge")
    yield one
    os.close(one.fd)


@pytest.fixture
async def changes() -> Changes:
    return Changes()


@pytest.fixture
async def masters(netns: str, made: Representor, changes: Changes) -> AsyncIterator[Masters]:
    watch = Masters(netns, changes)
    await watch.start()
    yield watch
    await watch.stop()


async def test_joining_and_leaving_a_bridge_is_reported(netns: str, masters: Masters, changes: Changes) -> None:
    ip("-n", netns, "link", "set", NAME, "master", "br0")
    assert await changes.next() == (NAME, True)
    assert masters.enslaved(NAME)
    ip("-n", netns, "link", "set", NAME, "nomaster")
    assert await changes.next() == (NAME, False)
    assert not masters.enslaved(NAME)


async def test_bridge_that_goes_frees_its_ports(netns: str, masters: Masters, changes: Changes) -> None:
    ip("-n", netns, "link", "set", NAME, "master", "br0")
    assert await changes.next() == (NAME, True)
    ip("-n", netns, "link", "del", "br0")
    assert await changes.next() == (NAME, False)


async def test_representor_that_goes_is_reported_free(
    netns: str, made: Representor, masters: Masters, changes: Changes
) -> None:
    ip("-n", netns, "link", "set", NAME, "master", "br0")
    assert await changes.next() == (NAME, True)
    await representor.delete(NAME, netns)
    assert await changes.next() == (NAME, False)


async def test_changes_that_are_none_are_not_reported(netns: str, masters: Masters, changes: Changes) -> None:
    ip("-n", netns, "link", "set", NAME, "mtu", "1400")
    ip("-n", netns, "link", "set", NAME, "master", "br0")
    ip("-n", netns, "link", "set", NAME, "mtu", "1300")
    ip("-n", netns, "link", "set", NAME, "nomaster")
    assert [await changes.next(), await changes.next()] == [(NAME, True), (NAME, False)]
    assert changes.queue.empty()


async def test_state_before_the_watch_is_reported_at_start(netns: str, made: Representor, changes: Changes) -> None:
    ip("-n", netns, "link", "set", NAME, "master", "br0")
    watch = Masters(netns, changes)
    await watch.start()
    assert changes.queue.get_nowait() == (NAME, True)
    await watch.stop()


async def test_lost_notifications_are_made_good(netns: str, masters: Masters, caplog: pytest.LogCaptureFixture) -> None:
    """While the loop is held, the socket overflows; the watch then reads the whole state again."""
    caplog.set_level(logging.INFO)
    script = "\n".join(f"link set {NAME} {'master br0' if n % 2 == 0 else 'nomaster'}" for n in range(1501))
    subprocess.run(["ip", "-n", netns, "-batch", "-"], input=script.encode(), check=True)  # noqa: ASYNC221
    await until(lambda: "opens again" in caplog.text and masters.enslaved(NAME))
    ip("-n", netns, "link", "set", NAME, "nomaster")
    await until(lambda: not masters.enslaved(NAME))


async def test_missing_namespace_is_refused_at_start(changes: Changes) -> None:
    with pytest.raises(NamespaceNotFound):
        await Masters("no-such-namespace", changes).start()


async def test_watch_leaves_no_descriptor_behind(netns: str, made: Representor, changes: Changes) -> None:
    before = open_descriptors()
    watch = Masters(netns, changes)
    await watch.start()
    await watch.stop()
    assert open_descriptors() == before
