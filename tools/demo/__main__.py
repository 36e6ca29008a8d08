"""``make demo``: prints each command and what it answered, then a table of what was claimed and what was seen.

Exit status 1 if any row differs.
"""

import sys
import time

from softdpu.lab import Guest
from tools.demo import steps, virtual
from tools.demo.stage import Stage

PORTS = 4


def main() -> int:
    """The whole workflow."""
    began = time.monotonic()
    with Stage() as stage:
        steps.firmware(stage)
        stage.start_controller()
        with (
            Guest(kernel="6.12", cmdline="intel_iommu=off", legacy=True, root_ports=PORTS) as first,
            Guest(kernel="6.1", root_ports=PORTS, cmdline="lab.modules=none") as second,
        ):
            steps.hotplug(stage, first)
            steps.legacy_guest(stage, first)
            steps.traffic(stage, first, steps.FIRST)
            steps.older_guest(stage, second)
            steps.guest_to_guest(stage, first, second)
            steps.crash(stage, first)
            steps.refuse_unplug(stage)
            steps.replace_datapath(stage, first)
            steps.unplug(stage, first)
        virtual.settings(stage)
        vf = virtual.virtual_functions(stage)
        with virtual.machine(stage, vf) as machine:
            virtual.transitional(stage, machine)
            virtual.commands(stage)
        virtual.leave(stage)
    print_table(stage, time.monotonic() - began)
    return 0 if all(row.holds for row in stage.rows) else 1


def print_table(stage: Stage, seconds: float) -> None:
    """One row a step."""
    print(f"\n{'':2}{'step':22}{'claimed':62}seen")
    for row in stage.rows:
        print(f"{'✓ ' if row.holds else '✗ '}{row.step:22}{row.claimed:62}{row.seen}")
    held = sum(row.holds for row in stage.rows)
    print(f"\n{held} of {len(stage.rows)} as claimed, in {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
