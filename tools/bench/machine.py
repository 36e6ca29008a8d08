"""Where it was measured, in a line."""

import os
import platform
from pathlib import Path


def describe() -> str:
    """Processor, cores and kernel."""
    information = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in information.splitlines() if "model name" in line), "?")
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"
