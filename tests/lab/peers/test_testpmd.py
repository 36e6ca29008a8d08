"""testpmd as a back end and as a driver."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from softdpu.lab.peers import PeerError, Testpmd, vhost, virtio_user


def packets(peer: Testpmd) -> list[int]:
    """How many each port has received."""
    return [int(count) for count in re.findall(r"RX-packets: (\d+)", peer.command("show port stats all"))]


def run_directory(peer: Testpmd) -> Path:
    """Where a testpmd that runs keeps its files."""
    environment = Path(f"/proc/{peer.pid}/environ").read_text().split("\0")
    return Path(next(word for word in environment if word.startswith("RUNTIME_DIRECTORY=")).partition("=")[2])


def test_packets_go_round_between_a_driver_and_a_back_end(tmp_path: Path) -> None:
    sockets = [tmp_path / "0", tmp_path / "1"]
    with (
        Testpmd([vhost(number, path) for number, path in enumerate(sockets)]) as back_end,
        Testpmd([virtio_user(number, path) for number, path in enumerate(sockets)], work=1, prompt=0) as driver,
    ):
        back_end.command("start")
        driver.command("start tx_first 1")
        end = time.monotonic() + 20
        while min(packets(driver)) < 1000:
            assert time.monotonic() < end, driver.log
    assert not any(path.exists() for path in sockets)


def test_a_client_waits_for_who_listens(tmp_path: Path) -> None:
    with (
        Testpmd([vhost(0, tmp_path / "s", client=True)]) as back_end,
        Testpmd([virtio_user(0, tmp_path / "s", server=True, packed_vq=1)], work=1, prompt=0),
    ):
        end = time.monotonic() + 20
        while "Link status: up" not in back_end.command("show port info 0"):
            assert time.monotonic() < end, back_end.log


def test_nothing_is_left(tmp_path: Path) -> None:
    with Testpmd([vhost(0, tmp_path / "s")]) as peer:
        pid, directory = peer.pid, run_directory(peer)
        assert (directory / "dpdk").is_dir()
        assert Path(f"/proc/{pid}/task/{peer.worker}").exists()
    assert not Path(f"/proc/{pid}").exists()
    assert not directory.exists()


def test_a_peer_that_cannot_start_says_why() -> None:
    with pytest.raises(PeerError, match="no_such_driver"), Testpmd(["no_such_driver0"]):
        pass


def test_a_peer_that_died_says_so(tmp_path: Path) -> None:
    with Testpmd([vhost(0, tmp_path / "s")]) as peer:
        os.kill(peer.pid, signal.SIGKILL)
        with pytest.raises(PeerError, match="dpdk-testpmd ended"):
            peer.command("start")
