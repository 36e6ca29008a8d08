"""QEMU and guest kernels, ready to boot: for the demo, the tests and anyone's experiments.

from softdpu.lab import Guest, Lab

Lab().build()
with Guest(kernel="6.12") as guest:
    print(guest.run("uname -r").output)
"""

from softdpu.lab.build import Lab
from softdpu.lab.errors import GuestDied, GuestError, GuestTimeout, LabError
from softdpu.lab.guest import Guest, Job, Result

__all__ = ["Guest", "GuestDied", "GuestError", "GuestTimeout", "Job", "Lab", "LabError", "Result"]
