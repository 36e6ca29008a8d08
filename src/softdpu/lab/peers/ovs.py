"""Open vSwitch with DPDK, an instance of its own: database, sockets and log in a directory that goes with it."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from softdpu.lab.peers.errors import PeerError
from softdpu.lab.peers.hugepages import Hugepages
from softdpu.lab.peers.peer import Peer
from softdpu.lab.peers.prompt import DIE_WITH_PARENT

SWITCH = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
BRIDGE = "br0"


class OvsDpdk(Peer):
    """A userspace bridge with a learning flow (NORMAL) and a vhost-user port for each name in ``ports``.

    It polls on core ``work``; a front end connects to ``socket(port)``.
    """

    def __init__(self, ports: Sequence[str], hugepages: Hugepages, *, work: int = 0, other: int = 1) -> None:
        super().__init__("ovs")
        self.ports, self.hugepages, self.work, self.other = list(ports), hugepages, work, other
        self._processes: list[subprocess.Popen[bytes]] = []

    def socket(self, port: str) -> Path:
        """Where a port listens."""
        return self._run / port

    def _start(self) -> None:
        database = self._run / "conf.db"
        self._do("ovsdb-tool", "create", str(database), SCHEMA)
        self._spawn("ovsdb-server", str(database), f"--remote=punix:{self._run}/db.sock")
        self._await(self._run / "db.sock")
        self.vsctl("--no-wait", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", *self._settings())
        # In a network namespace of its own: the bridge has a netdev.
        self._spawn("unshare", "--net", "--", SWITCH, f"unix:{self._run}/db.sock")
        self._await_control()
        self.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev")
        for port in self.ports:
            self.vsctl("add-port", BRIDGE, port, "--", "set", "interface", port, "type=dpdkvhostuser")
            self._await(self.socket(port))

    def _settings(self) -> list[str]:
        memory = self.hugepages.megabytes
        extra = f"--no-pci --no-telemetry --single-file-segments --file-prefix {self._run.name}"
        settings = {
            "dpdk-init": "true",
            "dpdk-socket-mem": str(memory),
            "dpdk-hugepage-dir": str(self.hugepages.path),
            "dpdk-lcore-mask": hex(1 << self.other),
            "pmd-cpu-mask": hex(1 << self.work),
            "dpdk-extra": extra,
        }
        return [f'other_config:{key}="{value}"' for key, value in settings.items()]

    def vsctl(self, *words: str) -> str:
        """What ``ovs-vsctl`` answers. Raises PeerError."""
        return self._do("ovs-vsctl", "--timeout=30", f"--db=unix:{self._run}/db.sock", *words)

    def appctl(self, *words: str) -> str:
        """What the running switch answers to ``ovs-appctl``. Raises PeerError."""
        target = next(self._run.glob("ovs-vswitchd*.ctl"))
        return self._do("ovs-appctl", "--timeout=10", f"--target={target}", *words)

    @property
    def pid(self) -> int:
        """The switch's process id."""
        return self._processes[-1].pid

    @property
    def worker(self) -> int:
        """The thread id of the core that forwards."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            if (task / "comm").read_text().startswith("pmd-"):
                return int(task.name)
        raise PeerError(f"OVS has no thread that forwards: {self._log()}")

    def _environment(self) -> dict[str, str]:
        places = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "RUNTIME_DIRECTORY")
        return {**os.environ, **dict.fromkeys(places, str(self._run))}

    def _spawn(self, *command: str) -> None:
        with (self._run / "log").open("ab") as log:
            process = subprocess.Popen(
                [*DIE_WITH_PARENT, *command],
                cwd=self._run,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)

    def _do(self, *command: str) -> str:
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerError(f"{' '.join(command)} failed: {done.stderr.strip()} {self._log()}")
        return done.stdout

    def _await_control(self) -> None:
        """Only a switch that could start DPDK makes this socket."""
        self._await(self._run / f"{Path(SWITCH).name}.{self.pid}.ctl")

    def _await(self, socket: Path, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not socket.exists():
            if time.monotonic() > end or any(process.poll() is not None for process in self._processes):
                raise PeerError(f"OVS does not listen at {socket}: {self._log()}")
            time.sleep(0.05)

    def _log(self) -> str:
        path = self._run / "log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-10:]) if path.exists() else ""

    def _stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
