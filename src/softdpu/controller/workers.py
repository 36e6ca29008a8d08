"""What the datapath's worker threads do, for ``virtnet health``."""

import asyncio
import time
from typing import Any

from softdpu.datapath.client import DatapathLink

MEASURED = 0.2  # seconds; workers that are busy say so every 50 ms


async def listing(link: DatapathLink | None) -> list[dict[str, Any]]:
    """Each worker: its core, how busy it is just now, and what it serves."""
    if link is None:
        return []
    begun, before = time.monotonic(), link.workers()
    await asyncio.sleep(MEASURED)
    after, lasted = link.workers(), time.monotonic() - begun
    return [
        {
            "worker": number,
            "core": now["core"] - 1 if now["core"] else "any",
            "busy_percent": busy(now["busy_ns"] - then["busy_ns"], lasted),
            "queues": now["queues"],
            "ports": now["ports"],
        }
        for number, (then, now) in enumerate(zip(before, after, strict=False))
    ]


def busy(nanoseconds: int, seconds: float) -> float:
    """Percent of the time. What was said late can be more than there was."""
    return min(100.0, round(nanoseconds / seconds / 1e7, 1))
