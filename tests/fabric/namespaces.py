"""What the tests of the fabric share: `ip`, a look at the process's descriptors, patience."""

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path


def ip(*arguments: str) -> str:
    """What `ip` printed."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def open_descriptors() -> int:
    """How many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(holds: Callable[[], bool], patience: float = 5) -> None:
    """Returns when the condition holds; TimeoutError after ``patience`` seconds."""
    async with asyncio.timeout(patience):
        while not holds():
            await asyncio.sleep(0.02)
