"""Devices that move over vfio-user between two VMMs of the test kit, frames under way: the tests of it, often."""

import os
import re
import subprocess
import sys
from typing import Final

from tools.soak.report import Report, Row

PART: Final = "vfio-user"
TESTS: Final = "tests/device/test_migration.py"
REPETITIONS: Final = "SOFTDPU_TEST_MIGRATIONS"


def run(report: Report, moves: int) -> None:
    """So many moves, legacy and modern, split and packed; one frame out of order, doubled or lost fails its test."""
    environment = os.environ | {REPETITIONS: str(moves)}
    command = [sys.executable, "-m", "pytest", TESTS, "-q", "-p", "no:cacheprovider", "-o", "timeout=0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1:] or ["nothing was run"]
    figures = {"moves": moves, "tests": re.findall(r"(\d+) (\w+)", last[0]), "output": done.stdout[-4000:]}
    report.add(Row(PART, f"{moves} moves at random instants ({TESTS})", last[0], done.returncode == 0, figures))
