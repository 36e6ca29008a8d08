"""QEMU's own function over a vhost-user back end, plugged and unplugged by QMP; the back end is DPDK's."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from softdpu.host import vhost_user
from softdpu.host.errors import HostRefused, SocketUnreachable
from softdpu.lab import Guest
from softdpu.lab.peers import vdev
from softdpu.lab.peers.testpmd import Testpmd
from softdpu.net.state import FunctionConfig
from tests.host.machines import Q35, attached, machine, root_ports

pytestmark = [pytest.mark.guest, pytest.mark.timeout(300)]

CONFIG = FunctionConfig(
    layout="transitional", mac=bytes.fromhex("0cc47aff2293"), mtu=1400, queues=3, queue_size=1024, vectors=4
)
LEGACY = "grep -c virtio-pci-legacy /proc/ioports"


@pytest.fixture
def back_end() -> Iterator[Path]:
    with TemporaryDirectory(prefix="sdpu-") as folder:
        path = Path(folder) / "dev.sock"
        with Testpmd([vdev.vhost(0, path)], mode="macswap") as testpmd:
            testpmd.command("start")
            yield path


@pytest.mark.parametrize("qemu", ["7.2", "11.1"])
async def test_a_function_comes_with_its_settings_and_goes_without_a_trace(qemu: str, back_end: Path) -> None:
    """An emulated QEMU 7.2 would crash with MSI-X, as the host says."""
    with Guest("6.12", qemu=qemu, legacy=True, root_ports=1) as guest:
        async with attached(guest.qmp_path) as host:
            vectors = 0 if (await host.abilities()).vhost_msix_crashes else CONFIG.vectors
            config = msgspec.structs.replace(CONFIG, vectors=vectors)
            for _ in range(2):
                placement = await host.plug_back_end(back_end, "d1", config)
                guest.wait_for(f"[ $({LEGACY}) = 1 ] && cat /sys/class/net/eth0/mtu")
                shown = guest.run("cd /sys/class/net/eth0; cat address mtu").output
                assert shown.split() == ["0c:c4:7a:ff:22:93", "1400"]
                rings = guest.run("ethtool -g eth0").output
                assert set(re.findall(r"[RT]X:\s+(\d+)", rings)) == {"1024"}
                assert placement.bdf == "01:00.0"
                await host.set_link("d1", up=False)
                guest.wait_for("ip link set eth0 up; ip link show eth0 | grep -q NO-CARRIER")
                await host.unplug("d1", vectors=4)
                assert await host.devices() == ()
                assert not [c for c in guest.qmp("query-chardev") if c["label"].startswith("d1")]
        assert guest.run("ls /sys/class/net").output.split() == ["lo"]


@pytest.mark.parametrize("qemu", ["7.2", "11.1"])
async def test_rings_have_the_sizes_of_the_table_and_no_others(qmp: Path, back_end: Path, qemu: str) -> None:
    taken = []
    for size in (64, 128, 255, 256, 300, 512, 1024, 2048):
        async with machine(qmp, [*Q35, *root_ports(1)], qemu=qemu), attached(qmp) as host:
            with contextlib.suppress(HostRefused):
                await host.plug_back_end(back_end, "d1", msgspec.structs.replace(CONFIG, queue_size=size))
                taken.append(size)
    assert tuple(taken) == vhost_user.RING_SIZES


async def test_a_refused_device_leaves_no_connection_behind(qmp: Path, back_end: Path) -> None:
    async with machine(qmp, [*Q35, *root_ports(1)]), attached(qmp) as host:
        bad = FunctionConfig(layout="transitional", mac=CONFIG.mac, queue_size=8192)
        with pytest.raises(HostRefused, match="rx_queue_size"):
            await host.plug_back_end(back_end, "d1", bad)
        await host.plug_back_end(back_end, "d1", CONFIG)
        assert await host.devices() == ("d1",)


async def test_a_socket_that_qemu_cannot_reach_is_refused_in_words(qmp: Path) -> None:
    async with machine(qmp, [*Q35, *root_ports(1)]), attached(qmp) as host:
        with pytest.raises(SocketUnreachable, match="cannot connect to /nonexistent"):
            await host.plug_back_end(Path("/nonexistent"), "d1", CONFIG)
        assert vhost_user.chardev_id("d1") not in await host.devices()
