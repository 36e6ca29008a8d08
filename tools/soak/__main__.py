"""``make soak``: the proofs that need many repetitions, at full length, and a table of what was done and seen.

``make soak MINUTES=5 MOVES=50 MIGRATIONS=100`` says how long something happens to one of a hundred driven VFs each
second, how often guests move under QEMU, and how often devices of the test kit do over vfio-user; 0 leaves that out.
The result is in build/soak.json too.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from tools.soak import carried, moving, virtual
from tools.soak.crowd import Disturbed
from tools.soak.moving import NotMoved
from tools.soak.outside import Silent
from tools.soak.report import Report, Row
from tools.soak.virtual import Size

RESULT = Path(__file__).parent.parent.parent / "build/soak.json"


def main() -> int:
    """Returns 1 when something is not as promised."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends also then
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--minutes", type=float, default=5.0, help="of something happening to a VF each second")
    parser.add_argument("--moves", type=int, default=50, help="live migrations of guests")
    parser.add_argument("--migrations", type=int, default=100, help="migrations of devices by the test kit")
    options = parser.parse_args()
    print(f"load average at the start: {' '.join(f'{load:.1f}' for load in os.getloadavg())}", flush=True)
    report = Report()
    try:
        _all(report, options.minutes, options.moves, options.migrations)
    finally:
        report.write(RESULT)
    print(f"load average at the end: {' '.join(f'{load:.1f}' for load in os.getloadavg())}")
    return 0 if report.holds else 1


def _all(report: Report, minutes: float, moves: int, migrations: int) -> None:
    try:
        if minutes:
            virtual.run(report, Size(seconds=60 * minutes))
    except Disturbed as why:
        report.add(Row(virtual.PART, "the others are not disturbed", str(why), False))
    try:
        if moves:
            moving.run(report, moves)
    except (NotMoved, Silent) as why:
        report.add(Row(moving.PART, "guests move and go on", str(why), False))
    if migrations:
        carried.run(report, migrations)


if __name__ == "__main__":
    sys.exit(main())
