"""``make bench-fast``: cycles a frame of our engine and its driver in one thread, as multiples of a memcpy of the ring.

Both are measured in the same seconds, so that the multiple moves with the code and not with the machine. It is set
beside what was recorded in docs/performance/fast.json; returns 1 for a regression. ``--record`` keeps today's.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import msgspec

from softdpu.lab.peers import Hugepages
from tools.bench.backends import GUEST_MEGABYTES
from tools.bench.pairs import Run, in_turn
from tools.bench.windows import LAYOUTS, ROOT, cycles

RECORD = ROOT / "docs/performance/fast.json"
ROUNDS = 3
TOLERANCE = 1.10  # of the recorded multiple: the same code swings by less
SIZES = (64, 1518)


def main() -> int:
    """Measures, compares, and says so."""
    arguments = argparse.ArgumentParser(prog="make bench-fast")
    arguments.add_argument("--record", action="store_true", help="keep today's multiples")
    record = arguments.parse_args().record
    with Hugepages(GUEST_MEGABYTES):
        today = {f"{octets} B {layout}": _multiple(octets, layout) for octets in SIZES for layout in LAYOUTS}
    if record:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_bytes(msgspec.json.format(msgspec.json.encode(today)) + b"\n")
    slower = compare(today, recorded(RECORD))
    return 1 if slower else 0


def _multiple(octets: int, layout: str) -> float:
    """Our cycles a frame over memcpy's: the best of a few rounds each, since every disturbance adds."""
    options = ("--octets", octets, *LAYOUTS[layout])
    runs: dict[str, Run] = {verb: partial(cycles, verb, *options) for verb in ("memcpy", "ours")}
    values = in_turn(runs, ROUNDS)
    copy, ours = min(values["memcpy"]), min(values["ours"])
    print(f"{octets:5} B {layout:7}{ours:7.1f} cycles a frame, memcpy {copy:6.1f}: {ours / copy:6.2f} ×", flush=True)
    return round(ours / copy, 2)


def recorded(path: Path) -> dict[str, float]:
    """The multiples kept, by name; none when there is no such file."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, float]) if path.exists() else {}


def compare(today: dict[str, float], before: dict[str, float]) -> list[str]:
    """Print what has changed; the names of what is slower than it was."""
    slower = [name for name in today.keys() & before.keys() if today[name] > TOLERANCE * before[name]]
    for name in sorted(slower):
        print(f"REGRESSION: {name} takes {today[name]:.2f} × a memcpy, and took {before[name]:.2f} ×")
    if not slower:
        print("no regression" if before else "nothing is recorded yet: python -m tools.bench.fast --record")
    return slower


if __name__ == "__main__":
    sys.exit(main())
