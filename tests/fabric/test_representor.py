"""Representors are real taps in a namespace: what `ip` says of them is what counts."""

import asyncio
import contextlib
import fcntl
import os
import struct
from pathlib import Path

import pytest

from softdpu.fabric import representor
from softdpu.fabric.errors import (
    BadInterfaceName,
    NamespaceNotFound,
    NameTaken,
    RepresentorNotFound,
    RepresentorRefused,
)
from softdpu.fabric.tap import VNET_HEADER
from tests.fabric.namespaces import ip, open_descriptors, until

NAME = "en3f0pf0sf2000"
TEMPORARY = f"sdpu{os.getpid()}"
TUNGETVNETHDRSZ = 0x800454D7


def namespaces() -> set[Path]:
    """The network namespaces that this process's threads are in."""
    return {(task / "ns/net").readlink() for task in Path("/proc/self/task").iterdir()}


async def test_representor_is_an_up_tap_in_the_chosen_namespace_only(netns: str) -> None:
    made = await representor.create(NAME, netns, 1500)
    try:
        shown = ip("-n", netns, "-d", "link", "show", NAME)
        assert "tun type tap pi off vnet_hdr on persist off" in shown
        assert ",UP" in shown
        assert f"{made.ifindex}: {NAME}" in shown
        assert await representor.find(NAME, None) is None
    finally:
        os.close(made.fd)


async def test_process_stays_in_its_own_namespace(netns: str) -> None:
    before = namespaces()
    made = await representor.create(NAME, netns, 1500)
    os.close(made.fd)
    assert namespaces() == before
    assert len(before) == 1


async def test_descriptor_is_non_blocking_with_twelve_byte_headers(netns: str) -> None:
    made = await representor.create(NAME, netns, 1500)
    try:
        header = fcntl.ioctl(made.fd, TUNGETVNETHDRSZ, struct.pack("i", 0))
        assert struct.unpack("i", header) == (VNET_HEADER,)
        assert not os.get_blocking(made.fd)
        assert not os.get_inheritable(made.fd)
    finally:
        os.close(made.fd)


async def test_frame_written_by_the_function_arrives_at_the_netdev(netns: str) -> None:
    """Received at the representor is what the function sent."""
    made = await representor.create(NAME, netns, 1500)
    try:
        os.write(made.fd, bytes(VNET_HEADER) + b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x88\xb5" + bytes(46))
        counters = await representor.statistics(NAME, netns)
        assert (counters.rx_packets, counters.rx_bytes) == (1, 60)
    finally:
        os.close(made.fd)


async def test_representor_vanishes_with_its_last_descriptor(netns: str) -> None:
    made = await representor.create(NAME, netns, 1500)
    second = os.dup(made.fd)
    os.close(made.fd)
    assert await representor.find(NAME, netns) is not None
    os.close(second)
    assert await representor.find(NAME, netns) is None


async def test_address_is_stable_local_and_unicast(netns: str) -> None:
    first = await representor.create(NAME, netns, 1500)
    before = await representor.find(NAME, netns)
    os.close(first.fd)
    second = await representor.create(NAME, netns, 1500)
    after = await representor.find(NAME, netns)
    os.close(second.fd)
    assert before is not None
    assert after is not None
    assert before.mac == after.mac == representor.stable_mac(NAME, netns)
    assert int(before.mac[:2], 16) & 3 == 2


def test_addresses_of_different_representors_differ() -> None:
    names = [f"en3f0pf0sf{n}" for n in range(2000, 2504)]
    assert len({representor.stable_mac(name, "dpu") for name in names}) == len(names)


async def test_new_controller_finds_what_the_datapath_still_holds(netns: str) -> None:
    made = await representor.create(NAME, netns, 9000)
    try:
        link = await representor.find(NAME, netns)
        assert link is not None
        assert (link.ifindex, link.mtu, link.up, link.master, link.kind) == (made.ifindex, 9000, True, None, "tun")
    finally:
        os.close(made.fd)


async def test_mtu_changes(netns: str) -> None:
    made = await representor.create(NAME, netns, 1500)
    try:
        await representor.set_mtu(NAME, netns, 9216)
        assert "mtu 9216" in ip("-n", netns, "link", "show", NAME)
    finally:
        os.close(made.fd)


async def test_carrier_follows_the_link_of_the_function(netns: str) -> None:
    made = await representor.create(NAME, netns, 1500)
    try:
        await representor.set_carrier(NAME, netns, up=False)
        assert "NO-CARRIER" in ip("-n", netns, "link", "show", NAME)
        await representor.set_carrier(NAME, netns, up=True)
        assert "LOWER_UP" in ip("-n", netns, "link", "show", NAME)
    finally:
        os.close(made.fd)


async def test_delete_ends_a_representor_that_somebody_holds(netns: str) -> None:
    made = await representor.create(NAME, netns, 1500)
    await representor.delete(NAME, netns)
    assert await representor.find(NAME, netns) is None
    await representor.delete(NAME, netns)
    os.close(made.fd)


async def test_name_of_another_representor_is_refused_with_its_owner(netns: str) -> None:
    made = await representor.create(NAME, netns, 1500)
    try:
        with pytest.raises(NameTaken, match=rf"{netns} has an interface {NAME} already \(process {os.getpid()} "):
            await representor.create(NAME, netns, 1500)
    finally:
        os.close(made.fd)


async def test_idle_persistent_tap_of_that_name_is_not_taken_over(netns: str) -> None:
    ip("-n", netns, "tuntap", "add", NAME, "mode", "tap")
    with pytest.raises(NameTaken, match="a tap that no process holds"):
        await representor.create(NAME, netns, 1500)


async def test_holder_of_the_same_name_elsewhere_is_not_blamed(netns: str) -> None:
    """Several DPUs on one machine have representors of the same names, each in its namespace."""
    ip("tuntap", "add", TEMPORARY, "mode", "tap")
    made = await representor.create(TEMPORARY, netns, 1500)
    try:
        with pytest.raises(NameTaken, match=r"this machine has .*\(a tap that no process holds"):
            await representor.create(TEMPORARY, None, 1500)
    finally:
        os.close(made.fd)
        ip("link", "del", TEMPORARY)


async def test_name_of_another_kind_of_interface_is_refused(netns: str) -> None:
    ip("-n", netns, "link", "add", NAME, "type", "bridge")
    with pytest.raises(NameTaken, match="a bridge interface"):
        await representor.create(NAME, netns, 1500)


@pytest.mark.parametrize("name", ["", "en3f0pf0sf2000000", "a/b", "a b", "..", "a:b", "ä"])
async def test_impossible_name_is_refused(name: str, netns: str) -> None:
    with pytest.raises(BadInterfaceName):
        await representor.create(name, netns, 1500)


@pytest.mark.parametrize("mtu", [67, 65522])
async def test_impossible_mtu_leaves_no_representor_behind(mtu: int, netns: str) -> None:
    before = open_descriptors()
    with pytest.raises(RepresentorRefused, match=f"MTU {mtu} failed"):
        await representor.create(NAME, netns, mtu)
    assert await representor.find(NAME, netns) is None
    assert open_descriptors() == before


async def test_missing_namespace_is_a_sentence_with_the_cure() -> None:
    with pytest.raises(NamespaceNotFound) as caught:
        await representor.create(NAME, "no-such-namespace", 1500)
    assert "does not exist: make it with `ip netns add no-such-namespace`" in str(caught.value)
    assert "no-such-namespace" not in ip("netns", "list")


async def test_lost_representor_is_named(netns: str) -> None:
    with pytest.raises(RepresentorNotFound, match=f"no interface {NAME}"):
        await representor.set_mtu(NAME, netns, 1500)


async def test_many_at_once_leak_nothing(netns: str) -> None:
    before = open_descriptors()
    names = [f"en3f0pf0sf{n}" for n in range(3000, 3040)]
    made = await asyncio.gather(*(representor.create(name, netns, 1500) for name in names))
    assert len({one.ifindex for one in made}) == len(names)
    for one in made:
        os.close(one.fd)
    assert open_descriptors() == before


async def test_creation_that_is_cancelled_at_any_moment_leaves_nothing(netns: str) -> None:
    before = open_descriptors()
    for step in range(30):
        task = asyncio.create_task(representor.create(NAME, netns, 1500))
        await asyncio.sleep(step * 0.0002)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            os.close((await task).fd)
        await until(lambda: open_descriptors() == before)
    assert NAME not in ip("-n", netns, "link", "show")
