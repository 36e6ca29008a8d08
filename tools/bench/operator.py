"""What an operator waits for, and what 500 idle devices cost; the peer's place in the table has the limit."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from itertools import pairwise
from pathlib import Path

from softdpu.lab import Guest
from tools.bench.pairs import PAIRS, Comparison
from tools.bench.realtime import favoured
from tools.bench.rows import HOTPLUG_TIME, IDLE_CORE, IDLE_MEMORY, LIST, RESTART, VERSION, Row
from tools.demo.pair import Pair
from tools.demo.stage import Stage
from tools.demo.steps import HOTPLUG, firmware

DEVICES, PFS = 500, 4  # in all, and those that the others are VFs of
FIRMWARE = (
    "mlxconfig -d 03:00.0 -y s VIRTIO_NET_EMULATION_ENABLE=1 VIRTIO_NET_EMULATION_NUM_MSIX=4 SRIOV_EN=1 "
    f"VIRTIO_NET_EMULATION_NUM_PF={PFS} VIRTIO_NET_EMULATION_NUM_VF={DEVICES // PFS - 1} PF_TOTAL_SF={DEVICES}"
)
SECONDS = 5  # in which devices are watched being idle
PAUSE = 0.002  # between the pings of a restart
ETH0 = Pair("en3f0pf0sf2000", "10.8.0")


def rows() -> Iterator[Comparison]:
    """With many devices first, then in a guest."""
    yield from _many()
    yield from _in_guest()


def _many() -> Iterator[Comparison]:
    with Stage() as stage:
        _command(stage, *FIRMWARE.split())
        _command(stage, "softdpu", "power-cycle")
        stage.start_controller()
        assert stage.controller is not None
        processes = (stage.controller.pid, stage.datapath_pid())
        before = sum(map(_resident, processes))
        for number in range(PFS):
            _command(stage, "softdpu", "vfs", str(number), str(DEVICES // PFS - 1))
        listed = stage.shell("virtnet list | grep -c vuid", quiet=True).stdout.strip()
        if listed != str(DEVICES):
            raise RuntimeError(f"{listed} of {DEVICES} devices are there")
        yield _result(IDLE_MEMORY, [(sum(map(_resident, processes)) - before) / DEVICES / 1e6])
        with favoured(*processes):
            time.sleep(1)
            yield _result(IDLE_CORE, [_share_of_a_core(processes) for _ in range(PAIRS)])
            yield _result(LIST, [_timed(partial(_command, stage, "virtnet", "list")) for _ in range(PAIRS)])
            yield _result(VERSION, [_timed(partial(_command, stage, "virtnet", "-v")) for _ in range(PAIRS)])


def _result(row: Row, values: list[float]) -> Comparison:
    return row.comparison("", (row.limit,) * len(values), tuple(values))


def _resident(process: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _share_of_a_core(processes: tuple[int, ...]) -> float:
    """Percent."""
    before = sum(map(_ran, processes))
    time.sleep(SECONDS)
    return (sum(map(_ran, processes)) - before) / 1e7 / SECONDS


def _ran(process: int) -> int:
    """Nanoseconds, of all threads."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def _timed(run: Callable[[], object]) -> float:
    """Seconds."""
    began = time.monotonic()
    run()
    return time.monotonic() - began


def _command(stage: Stage, *words: str) -> None:
    subprocess.run(words, env=stage.environment, check=True, capture_output=True)


def _in_guest() -> Iterator[Comparison]:
    with Stage() as stage:
        with redirect_stdout(StringIO()):
            firmware(stage)
        stage.start_controller()
        with Guest(legacy=True, root_ports=1) as guest:
            _command(stage, "softdpu", "host", "attach", str(guest.qmp_path))
            times = []
            for _ in range(PAIRS):
                times.append(_timed(partial(_plug, stage, guest)))
                _command(stage, "virtnet", "unplug", "-p", "0")
            yield _result(HOTPLUG_TIME, times)
            _plug(stage, guest)
            stage.in_netns(f"ip address add {ETH0.dpu}/24 dev {ETH0.tap}", quiet=True)
            stage.in_netns(f"ip link set {ETH0.tap} up", quiet=True)
            guest.run(f"ip address add {ETH0.guest}/24 dev eth0; ip link set eth0 up", check=True)
            yield _result(RESTART, [_pause(stage) for _ in range(PAIRS)])


def _plug(stage: Stage, guest: Guest) -> None:
    _command(stage, *HOTPLUG.split())
    guest.wait_for("ip link show eth0", 30)


def _pause(stage: Stage) -> float:
    """Seconds that traffic paused while the controller was killed and another took over."""
    ping = subprocess.Popen(
        ["ip", "netns", "exec", stage.netns, "ping", "-D", "-i", str(PAUSE), "-c", "1500", ETH0.guest],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(0.5)
        stage.kill_controller()
        stage.start_controller()
        time.sleep(0.5)
    finally:
        ping.terminate()
        output = ping.communicate()[0]
    answers = [float(at) for at in re.findall(r"^\[([\d.]+)\] .*time=", output, re.MULTILINE)]
    gap: float = max((later - earlier for earlier, later in pairwise(answers)), default=float("inf"))
    return gap
