"""2 MB pages for a peer, taken from the machine while they are used and given back afterwards."""

import fcntl
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TextIO

from softdpu.lab.peers.errors import PeerError

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
MEGABYTES = 2  # a page
_PREFIX = "softdpu-hugepages-"
# What a mount of ours is called, and which run made it.
_MOUNT = re.compile(rf"^\S+ (?P<path>\S*/{_PREFIX}(?P<run>\d+)-\S+) hugetlbfs \S*\bsize=(?P<size>\d+)")


class Hugepages:
    """A hugetlbfs of its own at ``path``, for the length of a ``with`` block.

    The machine's pool grows by its ``megabytes`` meanwhile.
    """

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes
        self.path = Path()

    def __enter__(self) -> "Hugepages":
        if os.geteuid() != 0:
            raise PeerError("hugepages are reserved and mounted by root only: run this as root.")
        sweep()
        _grow(self.megabytes // MEGABYTES)
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        # No min_size: DPDK takes pages that are set aside for a mount as somebody else's.
        size = f"pagesize=2M,size={self.megabytes}M"
        done = subprocess.run(
            ["mount", "-t", "hugetlbfs", "-o", size, "none", self.path], capture_output=True, text=True, check=False
        )
        if done.returncode:
            self.path.rmdir()
            _grow(-self.megabytes // MEGABYTES)
            raise PeerError(f"no hugetlbfs can be mounted at {self.path}: {done.stderr.strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _give_back(self.path, self.megabytes)


def sweep() -> None:
    """Give back what runs left behind that were killed."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        found = _MOUNT.match(line)
        if found and not Path(f"/proc/{found['run']}").exists():
            _give_back(Path(found["path"]), int(found["size"]) >> 20)


def _give_back(path: Path, megabytes: int) -> None:
    subprocess.run(["umount", path], check=True, capture_output=True)
    path.rmdir()
    _grow(-megabytes // MEGABYTES)


def _grow(pages: int) -> None:
    """Add pages to the machine's pool, or take them off. Raises PeerError when memory has too few left."""
    with _pool() as pool:
        before = int((POOL / "nr_hugepages").read_text())
        wanted = max(0, before + pages)
        pool.write(str(wanted))
        pool.flush()
        if int((POOL / "nr_hugepages").read_text()) < wanted:
            pool.seek(0)
            pool.write(str(before))
            raise PeerError(
                f"the machine has no {pages} hugepages of 2 MB to spare: free memory, or echo 1 > "
                "/proc/sys/vm/compact_memory, and try again."
            )


@contextmanager
def _pool() -> Iterator[TextIO]:
    """The pool's size, nobody else's meanwhile: several runs add to it."""
    try:
        file = (POOL / "nr_hugepages").open("w")
    except OSError as error:
        raise PeerError(f"hugepages of 2 MB cannot be reserved here: {error}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
