"""Two pairs of ports: DPDK's testpmd, which forwards from one to the other whatever comes, and ours."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from softdpu.lab.peers import Testpmd, vhost
from tests.differential.exchange import Ports
from tests.vhost.back_ends import Datapath


@pytest.fixture(scope="session")
def dpdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """Two ports of DPDK's vhost library; it is installed when it is missing."""
    if os.geteuid() != 0:
        pytest.skip("installs and starts DPDK, which takes root")
    place: Path = tmp_path_factory.mktemp("dpdk")
    ports = place / "0", place / "1"
    with Testpmd([vhost(number, path) for number, path in enumerate(ports)], descriptors=256) as peer:
        peer.command("start")
        yield ports


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    """Two ports of the datapath; between two known addresses its switch does what testpmd does."""
    with Datapath(tmp_path_factory.mktemp("ours")) as datapath:
        yield datapath.serve(0), datapath.serve(1)
