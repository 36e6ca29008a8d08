"""DPDK's virtio_user as the driver of two functions: its packets go round, with each of its ring layouts and paths."""

import os
import re
import time
from typing import Any

import pytest

from softdpu.lab.peers import Testpmd, install, virtio_user
from softdpu.spec import features as f
from tests.vhost.back_ends import Datapath

KINDS: dict[str, dict[str, Any]] = {
    "split": {"in_order": 0},
    "split without mergeable buffers": {"mrg_rxbuf": 0, "in_order": 0},
    "split in order": {"in_order": 1},
    "split vectorized": {"mrg_rxbuf": 0, "in_order": 1, "vectorized": 1},
    "packed": {"packed_vq": 1, "in_order": 0},
    "packed without mergeable buffers": {"packed_vq": 1, "mrg_rxbuf": 0, "in_order": 0},
    "packed in order": {"packed_vq": 1, "in_order": 1},
    "packed vectorized": {"packed_vq": 1, "mrg_rxbuf": 0, "in_order": 1, "vectorized": 1},
}


@pytest.fixture(scope="module", autouse=True)
def peers() -> None:
    if os.geteuid() != 0:
        pytest.skip("installs and starts DPDK, which takes root")
    install()


def packets(peer: Testpmd) -> list[int]:
    """How many each port has received."""
    return [int(count) for count in re.findall(r"RX-packets: (\d+)", peer.command("show port stats all"))]


def see_packets(peer: Testpmd, beyond: int) -> None:
    """Wait until each port has received more than that."""
    end = time.monotonic() + 20
    while min(packets(peer)) <= beyond:
        assert time.monotonic() < end, peer.log


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_packets_go_round(datapath: Datapath, options: dict[str, Any]) -> None:
    sockets = [datapath.serve(number, mrg_rxbuf=bool(options.get("mrg_rxbuf", 1))) for number in (0, 1)]
    with Testpmd([virtio_user(number, path, **options) for number, path in enumerate(sockets)]) as driver:
        driver.command("start tx_first 1")
        see_packets(driver, 1000)
        driver.command("stop")
        driver.command("port stop all")
        driver.command("port start all")
        driver.command("start tx_first 1")
        see_packets(driver, max(packets(driver)) + 1000)
        datapath.update(0)
        assert datapath.agreements[0].features >> f.RING_PACKED & 1 == options.get("packed_vq", 0)
        assert datapath.agreements[0].features >> f.IN_ORDER & 1 == options["in_order"]
    assert not [event for event in datapath.events if event.kind.endswith("fault")], datapath.log


def test_several_pairs_are_used(datapath: Datapath) -> None:
    sockets = [datapath.serve(number, queues=9) for number in (0, 1)]
    vdevs = [virtio_user(number, path, queues=4, mrg_rxbuf=1) for number, path in enumerate(sockets)]
    with Testpmd(vdevs, arguments=["--rxq=4", "--txq=4"]) as driver:
        driver.command("start tx_first 1")
        see_packets(driver, 1000)
        datapath.update(0)
        assert all(ring.started and ring.enabled for ring in datapath.agreements[0].rings)
    assert not [event for event in datapath.events if event.kind.endswith("fault")], datapath.log
