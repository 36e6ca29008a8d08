"""``python -m tools.bench.effort``: what a ping and a megabyte of TCP cost a guest and whoever serves it, counted.

Wake-ups, processor time, doorbells and interrupts, through our functions and through QEMU's own virtio-net in the same
guest. Counts say where the time goes on a machine whose load does not let its speed be trusted.
"""

import argparse
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from softdpu.lab import Guest
from tools.bench import guest as bench
from tools.bench.realtime import favoured
from tools.demo.pair import Pair
from tools.demo.stage import Stage

PINGS = 200
MEGABYTES = 256
WAYS = ("out", "in", "ping")


def main() -> int:
    """Prints a table for each driver, way and device."""
    arguments = _arguments()
    print(f"{'':34}{'a ping, or a MB of TCP: thread: ms of processor, sleeps, times the core was lost'}")
    for stage, guest, pairs, driver in bench.guests(arguments.drivers):
        with favoured(guest.pid, stage.datapath_pid()):
            for way in arguments.ways:
                for _ in range(arguments.rounds):
                    for name, pair in pairs.items():
                        print(_row(f"{driver}, {way}, {name}", counted(stage, guest, pair, way)), flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.effort")
    parser.add_argument("--drivers", nargs="+", choices=list(bench.NETS), default=list(bench.NETS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--rounds", type=int, default=1)
    return parser.parse_args()


def counted(stage: Stage, guest: Guest, pair: Pair, way: str) -> dict[str, float]:
    """What one ping, or one MB, cost: by thread and field, and events by name."""
    work: dict[str, Callable[[], float]] = {
        "out": partial(_tcp, stage, guest, pair, ""),
        "in": partial(_tcp, stage, guest, pair, "-R"),
        "ping": partial(_ping, stage, pair),
    }
    before, begun = _counters(stage, guest), time.monotonic()
    amount = work[way]()
    lasted, after = time.monotonic() - begun, _counters(stage, guest)
    return {name: (after[name] - before[name]) / amount for name in after} | {"ms in all": lasted * 1000 / amount}


def _tcp(stage: Stage, guest: Guest, pair: Pair, way: str) -> float:
    """The megabytes that were moved."""
    with bench.served(stage, pair):
        guest.run(f"iperf3 -c {pair.dpu} -n {MEGABYTES}M {way}", timeout=120, check=True)
    return MEGABYTES


def _ping(stage: Stage, pair: Pair) -> float:
    stage.in_netns(f"ping -q -c {PINGS} -i 0.005 {pair.guest}", quiet=True)
    return PINGS


def _counters(stage: Stage, guest: Guest) -> defaultdict[str, float]:
    """As they stand."""
    found = threads(guest.pid)
    found.update(threads(stage.datapath_pid()))
    found["interrupts"] = interrupts(guest.run("cat /proc/interrupts", check=True).output)
    for pf in re.findall(r'"pf_id": (\d+)', stage.shell("virtnet list", quiet=True).stdout):
        queried = stage.shell(f"virtnet query -p {pf}", quiet=True).stdout
        for event, key in (("doorbells", "handler_schd_number"), ("batches", "batch_number")):
            found[event] += sum(map(int, re.findall(rf'"{key}": "(\d+)"', queried)))
    return found


def threads(process: int) -> defaultdict[str, float]:
    """Of each thread's name: processor time in ms, how often it slept, how often it lost its core."""
    found: defaultdict[str, float] = defaultdict(float)
    for task in Path(f"/proc/{process}/task").iterdir():
        name = _name((task / "comm").read_text().strip())
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        found[f"{name} ms"] += int((task / "schedstat").read_text().split()[0]) / 1e6
        found[f"{name} slept"] += int(status["voluntary_ctxt_switches"])
        found[f"{name} lost"] += int(status["nonvoluntary_ctxt_switches"])
    return found


def interrupts(text: str) -> int:
    """Those of virtio devices' queues in /proc/interrupts."""
    lines = re.findall(r"^\s*\d+:((?:\s+\d+)+)\s.*virtio\d+(?:-input|-output)?\.?\d*$", text, re.MULTILINE)
    return sum(int(count) for line in lines for count in line.split())


def _name(comm: str) -> str:
    return {"ld-linux-x86-64": "main", "softdpu-datapat": "pump"}.get(comm, comm)


def _row(title: str, cost: dict[str, float]) -> str:
    threads = [name.removesuffix(" slept") for name in cost if name.endswith(" slept")]
    busy = [name for name in threads if cost[f"{name} ms"] > 0.002 or cost[f"{name} slept"] > 0.02]
    shown = [
        f"{name} {cost[f'{name} ms']:.3f} {cost[f'{name} slept']:.2f} {cost[f'{name} lost']:.2f}"
        for name in sorted(busy)
    ]
    events = [f"{name} {cost.get(name, 0):.2f}" for name in ("doorbells", "batches", "interrupts", "ms in all")]
    return f"{title:34}{' | '.join(shown + events)}"


if __name__ == "__main__":
    sys.exit(main())
