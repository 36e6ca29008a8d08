"""DPDK's testpmd as a back end (``vhost``) or as a driver (``virtio_user``), with its prompt."""

from collections.abc import Sequence
from pathlib import Path

from softdpu.lab.peers.errors import PeerError
from softdpu.lab.peers.hugepages import Hugepages
from softdpu.lab.peers.peer import Peer
from softdpu.lab.peers.prompt import Prompt

PROGRAM = "dpdk-testpmd"
PROMPT = "testpmd> "
BUFFERS = 16384


class Testpmd(Peer):
    """One testpmd between ``vdevs``, for the length of a ``with`` block.

    It forwards on core ``work`` after the command ``start``, and listens to commands on core ``prompt``. Without
    ``hugepages`` its memory is of ordinary pages, which is enough for tests. ``descriptors`` is the length of its own
    queues, ``eal`` and ``arguments`` are further words before and behind the ``--``.
    """

    __test__ = False  # no test, whatever its name says

    def __init__(
        self,
        vdevs: Sequence[str],
        *,
        hugepages: Hugepages | None = None,
        work: int = 0,
        prompt: int = 1,
        mode: str = "io",
        descriptors: int = 1024,
        eal: Sequence[str] = (),
        arguments: Sequence[str] = (),
    ) -> None:
        super().__init__("testpmd")
        self.vdevs, self.hugepages, self.cores = list(vdevs), hugepages, (work, prompt)
        self.mode, self.descriptors = mode, descriptors
        self.eal, self.arguments = list(eal), list(arguments)
        self._prompt: Prompt | None = None

    def _start(self) -> None:
        # Its run-time files (locks, maps of its memory) are removed with the directory.
        self._prompt = Prompt(self.command_line(), PROMPT, {"RUNTIME_DIRECTORY": str(self._run)})
        self._prompt.answer(None, 30.0)

    def _stop(self) -> None:
        if self._prompt is not None:
            self._prompt.close("quit")

    def command_line(self) -> list[str]:
        """How it is started."""
        work, prompt = self.cores
        buffers = BUFFERS if self.hugepages else BUFFERS // 4
        return [
            PROGRAM,
            *("--lcores", f"0@{prompt},1@{work}"),
            *self._memory(),
            *("--no-pci", "--no-telemetry", "--single-file-segments", "--file-prefix", self._run.name),
            *(word for vdev in self.vdevs for word in ("--vdev", vdev)),
            *self.eal,
            "--",
            *("-i", "--nb-cores=1", "--no-mlockall", f"--forward-mode={self.mode}"),
            *(f"--txd={self.descriptors}", f"--rxd={self.descriptors}"),
            *(f"--total-num-mbufs={buffers}", "--mbcache=256"),
            *self.arguments,
        ]

    def _memory(self) -> list[str]:
        if self.hugepages is None:
            return ["--no-huge", "-m", "128"]
        return ["-m", str(self.hugepages.megabytes), "--huge-dir", str(self.hugepages.path)]

    def command(self, line: str, timeout: float = 10.0) -> str:
        """Type a line at its prompt; what it answers. Raises PeerError when it does not, or has ended."""
        assert self._prompt is not None, "it runs inside its with block only"
        return self._prompt.answer(line, timeout)

    @property
    def log(self) -> str:
        """All it has said."""
        assert self._prompt is not None, "it runs inside its with block only"
        return self._prompt.text

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._prompt is not None, "it runs inside its with block only"
        return self._prompt.process.pid

    @property
    def worker(self) -> int:
        """The thread id of the core that forwards."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            if "worker" in (task / "comm").read_text():
                return int(task.name)
        raise PeerError(f"{PROGRAM} has no thread that forwards:\n{self.log[-500:]}")
