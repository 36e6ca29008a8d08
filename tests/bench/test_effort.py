"""What is counted beside a bench's speeds."""

import os
import time

from tools.bench.effort import interrupts, threads

SEEN_IN_A_GUEST = """\
           CPU0       CPU1
  1:          9          0   IO-APIC   1-edge      i8042
 24:          0          0  PCI-MSIX-0000:01:00.0   0-edge      virtio0-config
 25:        120          3  PCI-MSIX-0000:01:00.0   1-edge      virtio0-input.0
 26:         40          0  PCI-MSIX-0000:01:00.0   2-edge      virtio0-output.0
 27:          7          0   IO-APIC  11-fasteoi   virtio1
LOC:       1000       1000   Local timer interrupts
"""


def test_interrupts_of_queues_are_summed_over_processors() -> None:
    assert interrupts(SEEN_IN_A_GUEST) == 120 + 3 + 40 + 7


def test_sleeps_and_processor_time_of_threads_are_those_of_the_kernel() -> None:
    before = threads(os.getpid())
    for _ in range(50):
        time.sleep(0.001)
    after = threads(os.getpid())
    slept = sum(after[name] - before[name] for name in after if name.endswith(" slept"))
    assert slept >= 50
    assert sum(after[name] for name in after if name.endswith(" ms")) > 0
