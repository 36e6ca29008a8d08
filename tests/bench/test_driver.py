"""The light driver, in front of DPDK's back end: every frame arrives, in either layout."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from softdpu.lab.peers import Testpmd, vhost
from tools.bench.windows import Report, Window, run


class Forwarder:
    """testpmd with ordinary pages: nothing is measured here."""

    def __init__(self, testpmd: Testpmd, sockets: Sequence[Path]) -> None:
        self.worker, self.sockets = testpmd.worker, sockets


@pytest.fixture(scope="module")
def back_end(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forwarder]:
    """Forwards between two guests."""
    if os.geteuid() != 0:
        pytest.skip("starts DPDK, which takes root")
    sockets = [tmp_path_factory.mktemp("bench") / name for name in "01"]
    with Testpmd([vhost(number, path) for number, path in enumerate(sockets)]) as testpmd:
        testpmd.command("start")
        yield Forwarder(testpmd, sockets)


@pytest.mark.parametrize("layout", [(), ("--packed",)], ids=["split", "packed"])
@pytest.mark.parametrize("octets", [64, 1518])
def test_frames_arrive_in_order(back_end: Forwarder, layout: tuple[str, ...], octets: int) -> None:
    report = run(["throughput", "--small-pages", "--touch", "--octets", octets, *layout], back_end)
    assert report.disorder == 0
    assert sum(window.frames for window in report.windows) > 0


def test_a_frame_in_flight_has_a_time(back_end: Forwarder) -> None:
    report = run(["latency", "--small-pages"], back_end)
    assert all(window.p50 and window.p99 and window.p50 <= window.p99 for window in report.windows)


def test_a_guest_that_is_not_served_is_told(tmp_path: Path, back_end: Forwarder) -> None:
    back_end.sockets, kept = [tmp_path / "no", tmp_path / "body"], back_end.sockets
    with pytest.raises(RuntimeError, match=r"no: .*No such file"):
        run(["throughput", "--small-pages"], back_end)
    back_end.sockets = kept


@pytest.mark.parametrize(("waited", "stolen", "frames"), [(10**8, 0, 1), (0, 1, 1), (0, 0, 0)])
def test_a_window_without_its_cores_does_not_count(waited: int, stolen: int, frames: int) -> None:
    window = Window(seconds=0.1, frames=1, lost=0, cycles=1.0, waited=0, stolen=0)
    assert window.quiet
    assert not msgspec.structs.replace(window, waited=waited, stolen=stolen, frames=frames).quiet


def test_reports_are_read_as_the_driver_writes_them() -> None:
    assert isinstance(run(["memcpy", "--small-pages", "--octets", 1518]), Report)
