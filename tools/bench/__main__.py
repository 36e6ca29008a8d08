"""``make bench``: ours beside the peers, as ratios of interleaved runs. ``make bench ROWS=small,latency``: these only.

Prints the table of docs/performance.md and writes build/bench.json and build/bench.svg; with ``--snapshot`` also
docs/performance/ and the table in the page.
"""

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

from softdpu.lab import LabError
from tools.bench import guest, machine, one_thread, operator, snapshot, switching, table, tap, virtio_user
from tools.bench.pairs import Comparison
from tools.bench.rows import ROWS
from tools.bench.windows import ROOT

RUNS: dict[str, Callable[[], Iterator[Comparison]]] = {
    "small": switching.small,
    "ovs": switching.ovs,
    "large": switching.large,
    "memcpy": switching.memcpy,
    "virtio-user": virtio_user.rows,
    "cycles": one_thread.rows,
    "latency": switching.latency,
    "tap": tap.rows,
    "guest": guest.rows,
    "flood": one_thread.flood,
    "operator": operator.rows,
    "itself": switching.itself,
}


def main() -> int:
    """Returns 1 when a row could not be measured."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends also then
    arguments = _arguments()
    print(machine.describe(), table.HEADING, sep="\n\n", flush=True)
    results: list[Comparison] = []
    missing = [name for name in arguments.rows if not _run(name, results)]
    print(f"\n{table.verdict(results)}")
    snapshot.write(results, ROOT / "build")
    if arguments.snapshot:
        snapshot.keep(results, ROOT / "docs/performance", ROOT / "docs/performance.md", list(RUNS))
    return 1 if missing else 0


def _arguments() -> argparse.Namespace:
    known = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(known)}; all without any")
    parser.add_argument("--snapshot", action="store_true", help="keep the result under docs/performance")
    arguments = parser.parse_args()
    arguments.rows = [name for word in arguments.rows for name in word.split(",") if name] or known
    if unknown := set(arguments.rows) - set(RUNS):
        parser.error(f"there is no row {', '.join(unknown)}: they are {', '.join(known)}")
    return arguments


def _run(name: str, results: list[Comparison]) -> bool:
    """One row; what it yields is printed as it comes."""
    try:
        for result in RUNS[name]():
            results.append(result)
            print(table.line(result), flush=True)
    except (RuntimeError, LabError, subprocess.CalledProcessError) as error:
        print(f"{name}: not measured: {error}", flush=True)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
