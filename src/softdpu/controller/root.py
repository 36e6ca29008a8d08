"""Where a DPU keeps its files: every path hangs from one root, ``/`` on a real machine."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from softdpu.controller.errors import OperatorError

LONGEST_VUID = "MT2447X00000VNETS999D31F7"
SOCKET_PATH_LIMIT = 107  # sun_path, without its end


@dataclass(frozen=True)
class Root:
    """The root directory of one DPU."""

    path: Path

    @classmethod
    def chosen(cls, argument: str | None = None) -> "Root":
        """The root named on the command line, else SOFTDPU_ROOT, else ``/``."""
        return cls(Path(argument or os.environ.get("SOFTDPU_ROOT") or "/").absolute())

    def check(self) -> None:
        """Whether the sockets under this root can be bound. Raises OperatorError."""
        longest = self.export(LONGEST_VUID)
        if len(os.fsencode(longest)) > SOCKET_PATH_LIMIT:
            raise OperatorError(
                errno.ENAMETOOLONG,
                f"the root {self.path} is too long: a socket such as {longest} would be longer than the "
                f"{SOCKET_PATH_LIMIT} bytes that unix sockets allow. Choose a shorter one with --root.",
            )

    @property
    def run(self) -> Path:
        """Sockets and the lock: gone after a reboot."""
        return self.path / "run/virtnet"

    @property
    def api(self) -> Path:
        """The operator's HTTP socket."""
        return self.run / "controller.sock"

    @property
    def datapath(self) -> Path:
        """The socket on which the datapath serves controllers."""
        return self.run / "datapath.sock"

    @property
    def lock(self) -> Path:
        """Held by the one controller of this root."""
        return self.run / "controller.lock"

    @property
    def product(self) -> Path:
        """Where the product keeps its configuration."""
        return self.path / "opt/mellanox/mlnx_virtnet"

    @property
    def configuration(self) -> Path:
        """virtnet.conf."""
        return self.product / "virtnet.conf"

    @property
    def recovery(self) -> Path:
        """One file a device, for a reboot of the machine."""
        return self.product / "recovery"

    @property
    def hosts(self) -> Path:
        """The hosts that the operator attached, for a restart of the controller."""
        return self.path / "var/lib/softdpu/hosts.json"

    @property
    def host_tree(self) -> Path:
        """Where the simulated host's files are mounted, in its own namespace."""
        return self.run / "host/files"

    @property
    def host_commands(self) -> Path:
        """The simulated host's own commands."""
        return self.run / "host/bin"

    @property
    def host_pid(self) -> Path:
        """The simulated host's process, once it is up."""
        return self.run / "host/pid"

    @property
    def host_log(self) -> Path:
        """What the simulated host's process says."""
        return self.path / "var/log/softdpu/host.log"

    @property
    def datapath_log(self) -> Path:
        """What the datapath says."""
        return self.path / "var/log/softdpu/datapath.log"

    def export(self, vuid: str) -> Path:
        """The socket on which a function is served to a VMM."""
        return self.run / f"{vuid}.sock"

    def rings(self, vuid: str) -> Path:
        """Where the datapath keeps how far a function's packed rings are, for the datapath after it."""
        return self.run / f"{vuid}.rings"
