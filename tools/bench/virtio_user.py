"""DPDK's virtio_user as the driver of both back ends: frames go round between two of its ports, in io mode."""

import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from softdpu.lab.peers import Hugepages, Testpmd, virtio_user
from tools.bench.backends import Forwarder, Runner, memory, turn
from tools.bench.ours import Ours
from tools.bench.pairs import Comparison, Run, in_turn
from tools.bench.realtime import realtime
from tools.bench.rows import VIRTIO_USER
from tools.bench.windows import DRIVE, TRIES, WORK, NotQuiet

SECONDS, SAMPLES = 0.4, 3
PAUSE = 0.1  # s in which everybody else gets the cores
EDGES = 20e6  # ns a second that both threads together may wait: the prompt runs on their cores
VARIANTS: dict[str, dict[str, Any]] = {
    "split": {},
    "split, mrg_rxbuf=0": {"mrg_rxbuf": 0},
    "split, in_order": {"mrg_rxbuf": 0, "in_order": 1},
    "split, vectorized": {"mrg_rxbuf": 0, "vectorized": 1},
    "packed": {"packed_vq": 1},
    "packed, in_order": {"packed_vq": 1, "mrg_rxbuf": 0, "in_order": 1},
    "packed, vectorized": {"packed_vq": 1, "mrg_rxbuf": 0, "in_order": 1, "vectorized": 1},
}
MACS = ("02:00:00:00:00:00", "02:00:00:00:00:01")


def rows() -> Iterator[Comparison]:
    """Each way that DPDK's driver knows, against testpmd's back end with the same."""
    with memory() as pages, memory() as own, Forwarder(pages) as peer, Ours() as ours:
        for name, options in VARIANTS.items():
            values = in_turn({"peer": _run(peer, own, options), "ours": _run(ours, own, options)})
            yield VIRTIO_USER.comparison(name, values["peer"], values["ours"])


def _run(back_end: Runner, pages: Hugepages, options: dict[str, Any]) -> Run:
    def once() -> float:
        with turn(back_end):
            return rate(back_end, pages, options)

    return once


def rate(back_end: Runner, pages: Hugepages, options: dict[str, Any]) -> float:
    """Mpps through the back end, both ways together. Raises NotQuiet."""
    ports = [
        virtio_user(number, path, size=1024, mac=MACS[number], **options)
        for number, path in enumerate(back_end.sockets)
    ]
    addresses = [f"--eth-peer={number},{MACS[1 - number]}" for number in range(2)]
    driver = Testpmd(
        ports,
        hugepages=pages,
        work=DRIVE,
        prompt=WORK,
        eal=["--force-max-simd-bitwidth=512"],
        arguments=["--txpkts=64", *addresses],
    )
    with driver:
        # Half of a ring is on its way, so no buffer is ever missing.
        driver.command("start tx_first 16")
        return statistics.median(_sample(driver, back_end) for _ in range(SAMPLES))


def _sample(driver: Testpmd, back_end: Runner) -> float:
    threads = (driver.worker, back_end.worker)
    for _ in range(3 * TRIES):
        # The prompt that is asked for the frames needs a core too: it goes before the hot threads, for microseconds.
        with realtime(threads, watching=[driver.pid]):
            waited, (frames, start) = _waited(threads), _received(driver)
            time.sleep(SECONDS)
            (later, end), waited = _received(driver), _waited(threads) - waited
        time.sleep(PAUSE)
        if waited < EDGES * (end - start):
            return (later - frames) / (end - start) / 1e6
    raise NotQuiet("other programs kept the hot threads from their cores")


def _received(driver: Testpmd) -> tuple[int, float]:
    """Frames that came to both ports by now."""
    counts = re.findall(r"RX-packets: (\d+)", driver.command("show port stats all"))
    return sum(map(int, counts)), time.monotonic()


def _waited(threads: tuple[int, ...]) -> int:
    """Nanoseconds that threads were ready to run and did not."""
    return sum(int(Path(f"/proc/{thread}/schedstat").read_text().split()[1]) for thread in threads)
