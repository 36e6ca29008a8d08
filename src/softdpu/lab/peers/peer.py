"""What the peers have in common: installed first, in a directory of their own, and ended with their ``with`` block."""

import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from softdpu.lab.peers.packages import install


class Peer(ABC):
    """Somebody else's program between ``__enter__`` and ``__exit__``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._run = Path()  # where its sockets, locks and logs are

    def __enter__(self) -> Self:
        install()
        self._run = Path(tempfile.mkdtemp(prefix=f"{self._name}-"))
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._stop()
        shutil.rmtree(self._run, ignore_errors=True)

    @abstractmethod
    def _start(self) -> None:
        """Start it, in its directory; return when it is ready."""

    @abstractmethod
    def _stop(self) -> None:
        """End what was started, as far as that came."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process id."""

    @property
    @abstractmethod
    def worker(self) -> int:
        """The thread id of the core that forwards."""
