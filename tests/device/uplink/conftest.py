"""An uplink of either kind: one end of a veth pair, whose other end the test holds."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from softdpu.datapath import ledger
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest
from tests.waiting import until

CONF = "opt/mellanox/mlnx_virtnet/virtnet.conf"
OUTSIDE = bytes.fromhex("02000000fffe")


@pytest.fixture(scope="module", params=["af_packet", "af_xdp"])
def mode(request: pytest.FixtureRequest) -> str:
    """The kind of uplink."""
    return str(request.param)


@pytest.fixture(scope="module")
def dpu(mode: str) -> Iterator[Dpu]:
    """A DPU whose port 0 is to reach the network by up0, which is not there yet."""
    dpu = Dpu()
    conf: Path = dpu.root / CONF
    conf.parent.mkdir(parents=True)
    conf.write_text(f'{{ "uplinks": {{ "p0": "{mode}:up0" }}, }}')
    with dpu:
        yield dpu


@pytest.fixture
def wire(dpu: Dpu) -> Iterator[Representor]:
    """The cable's far end; up0 has joined."""
    dpu.ip("link", "add", "up0", "type", "veth", "peer", "name", "far0")
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: "up0" in dpu.ip("link") and dpu.ip("link", "del", "up0"))
        for name in ("up0", "far0"):
            dpu.ip("link", "set", name, "up")
        joined(dpu, True)
        with Representor(dpu.netns, "far0") as far:
            yield far


@pytest.fixture
def device(dpu: Dpu) -> Iterator[Plugged]:
    """A transitional device on port 0."""
    device = dpu.hotplug()
    yield device
    dpu.unplug(device)


@pytest.fixture
def guest(device: Plugged) -> Iterator[SmallGuest]:
    """A guest whose driver runs."""
    with SmallGuest(device) as guest:
        yield guest


def joined(dpu: Dpu, up: bool) -> None:
    """Wait until the uplink is as it should be."""
    until(lambda: dpu.uplinks().get("p0", {}).get("passes") == int(up))


def dropped(dpu: Dpu, cause: str) -> int:
    """Frames that the uplink dropped for a cause."""
    return int(dpu.uplinks()["p0"]["frames"]["dropped"].get(cause, 0))


def closes(dpu: Dpu) -> bool:
    """Whether the ledger of every port closes."""
    return not [port for port in dpu.ledgers().values() if ledger.of_port(port).missing]
