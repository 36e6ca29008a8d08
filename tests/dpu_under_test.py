"""A real DPU in a temporary root: its own firmware settings, controller, datapath and network namespace.

Everything that it starts is ended by process id; the namespace and the root are removed.
"""

import base64
import contextlib
import ctypes
import itertools
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from softdpu.api.client import Client
from softdpu.controller.errors import OperatorError
from softdpu.datapath.messages import Hello
from softdpu.firmware import Firmware

BUILT: Final = Path(__file__).parent.parent / "target/release/softdpu-datapath"
FIRMWARE: Final = {
    "VIRTIO_NET_EMULATION_ENABLE": 1,
    "VIRTIO_NET_EMULATION_NUM_MSIX": 10,
    "VIRTIO_EMULATION_HOTPLUG_TRANS": 1,
    "PCI_SWITCH_EMULATION_ENABLE": 1,
    "PCI_SWITCH_EMULATION_NUM_PORT": 32,
    "PF_TOTAL_SF": 64,
    "SRIOV_EN": 1,
}
CLONE_NEWNET: Final = 0x40000000
ETH_P_ALL: Final = 3
SO_RCVBUFFORCE: Final = 33
METRIC: Final = re.compile(
    r'softdpu_(?P<name>\w+?)(_total)?\{(queue="(?P<queue>\d+)",)?vuid="(?P<vuid>[^"]*)"\} (?P<value>\S+)'
)
_names = itertools.count(1)


@dataclass(frozen=True)
class Reply:
    """What a command printed, and its exit status."""

    status: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """The JSON object that the output ends in."""
        start = self.output.find("\n{\n")
        return json.loads(self.output[start + 1 if start >= 0 else 0 :])


@dataclass(frozen=True)
class Plugged:
    """A device as ``virtnet hotplug`` described it."""

    vuid: str
    pf: int
    mac: bytes
    representor: str
    socket: Path
    reply: Mapping[str, Any]


class Representor:
    """The DPU's end of a device: sends to the guest and hears what comes from it, as any program there could."""

    def __init__(self, netns: str, name: str) -> None:
        self.name = name
        self.socket = in_namespace(netns, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)  # a burst must not be lost here
        self.socket.bind((name, ETH_P_ALL))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, frame: bytes) -> None:
        """Send a frame to the guest."""
        self.socket.send(frame)

    def receive(self, timeout: float = 5.0) -> bytes:
        """The next frame from the guest. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while select.select([self.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
            data, address = self.socket.recvfrom(65536)
            if address[2] != socket.PACKET_OUTGOING:
                return data
        raise TimeoutError(f"nothing came from the guest of {self.name} within {timeout} s")

    def drain(self, quiet: float = 0.05) -> list[bytes]:
        """All frames until none has come for ``quiet`` seconds."""
        frames: list[bytes] = []
        with contextlib.suppress(TimeoutError):
            while True:
                frames.append(self.receive(quiet))
        return frames


class Dpu:
    """One DPU. Use as a context manager."""

    def __init__(self, firmware: Mapping[str, int] = FIRMWARE, **configuration: object) -> None:
        """``configuration`` is what virtnet.conf has."""
        self.netns = f"dpu-{os.getpid()}-{next(_names)}"
        self.root = Path(tempfile.mkdtemp(prefix=f"{self.netns}-"))
        self.environment = {**os.environ, "SOFTDPU_ROOT": str(self.root), **_datapath_binary()}
        self.controller: subprocess.Popen[bytes] | None = None
        self.datapath_pid = 0
        self.log = self.root / "controller.log"
        self._macs = itertools.count(1)
        settings = Firmware.load(self.root)
        settings.set_next(dict(firmware))
        settings.power_cycle()
        if configuration:
            conf = self.root / "opt/mellanox/mlnx_virtnet/virtnet.conf"
            conf.parent.mkdir(parents=True, exist_ok=True)
            conf.write_text(json.dumps(configuration))

    # ---- life

    def __enter__(self) -> Self:
        _run("ip", "netns", "add", self.netns)
        try:
            _run("ip", "netns", "exec", self.netns, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
            self.start_controller()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End everything and leave nothing behind."""
        self.kill_controller()
        _kill(self.datapath_pid or _datapath_at(self.root / "run/virtnet/datapath.sock"))
        subprocess.run(["ip", "netns", "del", self.netns], check=False, capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def start_controller(self) -> None:
        """Start a controller and wait until it answers; it starts or joins the datapath."""
        with self.log.open("ab") as log:
            self.controller = subprocess.Popen(
                [sys.executable, "-m", "softdpu.daemon", "--netns", self.netns],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_it_answers()
        self.datapath_pid = int(self._api().get("/v1/health")["service"]["datapath_pid"])

    def _wait_until_it_answers(self) -> None:
        assert self.controller is not None
        deadline = time.monotonic() + 30
        while not _answers(self.root / "run/virtnet/controller.sock"):
            if self.controller.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the controller does not come up:\n{self.log.read_text()}")
            time.sleep(0.02)

    def kill_controller(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        if self.controller is not None:
            self.controller.kill()
            self.controller.wait()
            self.controller = None

    def restart_controller(self) -> None:
        """Kill the controller and start the next one."""
        self.kill_controller()
        self.start_controller()

    def kill_datapath(self) -> None:
        """SIGKILL; every guest loses its devices."""
        _kill(self.datapath_pid)

    def wait_for_another_datapath(self, former: int) -> None:
        """The controller starts one when the former has died; returns when both serve."""
        deadline = time.monotonic() + 30
        while self.datapath_pid == former:
            assert time.monotonic() < deadline, self.log.read_text()
            with contextlib.suppress(OperatorError):
                self.datapath_pid = int(self._api().get("/v1/health")["service"]["datapath_pid"]) or former
            time.sleep(0.02)

    @staticmethod
    def gone(pid: int) -> bool:
        """Whether a process has ended."""
        return _state(pid) == "Z"

    # ---- the operator

    def virtnet(self, *arguments: object, check: bool = True) -> Reply:
        """Run ``virtnet``; with ``check`` a failure raises with what it said."""
        command = [sys.executable, "-c", "from softdpu.cli.virtnet import main; main()", *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        if check and done.returncode:
            raise RuntimeError(
                f"virtnet {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}{done.stderr}"
                f"{self.log.read_text()[-4000:]}"
            )
        return Reply(done.returncode, done.stdout, done.stderr)

    def _api(self) -> Client:
        return Client(self.root / "run/virtnet/controller.sock")

    def hotplug(
        self,
        *,
        legacy: bool = True,
        mtu: int = 1500,
        queues: int = 3,
        size: int = 256,
        vectors: int | None = None,
        features: int = 0,
        export: str | None = None,
        connect: str | None = None,
    ) -> Plugged:
        """Plug a device with a MAC of its own; ``vectors`` 0: INTx only. By the API that ``virtnet hotplug`` uses."""
        mac = bytes.fromhex("0cc47a0000") + bytes([next(self._macs) & 0xFF])
        request = {
            "ib_device": "mlx5_0",
            "mac": mac.hex(":"),
            "mtu": mtu,
            "max_queues": queues,
            "max_queue_size": size,
            "legacy": legacy,
            "num_msix": vectors,
            "features": hex(features),
            "export": export,
            "connect": connect,
        }
        reply = self._api().post("/v1/hotplug", request)
        path = self.root / "run/virtnet" / f"{reply['vuid']}.sock"
        return Plugged(reply["vuid"], int(reply["id"]), mac, reply["sf_rep_net_device"], path, reply)

    def unplug(self, device: Plugged) -> None:
        """Unplug a device."""
        self._api().post("/v1/unplug", {"vuid": device.vuid})

    def modify(self, device: Plugged, **changes: object) -> None:
        """Change properties of a device, as ``virtnet modify … device`` does: mac, mtu, link, speed."""
        self._api().post("/v1/modify/device", {"vuid": device.vuid, **changes})

    def save(self, device: Plugged, *, stop: bool = False) -> bytes:
        """The device's state, as ``softdpu save`` writes it to a file."""
        return base64.b64decode(self._api().post("/v1/save", {"vuid": device.vuid, "stop": stop})["state"])

    def restore(self, device: Plugged, state: bytes, *, stop: bool = False) -> None:
        """Have a device go on where a saved one stood."""
        request = {"vuid": device.vuid, "state": base64.b64encode(state).decode(), "stop": stop}
        self._api().post("/v1/restore", request)

    def resume(self, device: Plugged) -> None:
        """Let a stopped device go on."""
        self._api().post("/v1/resume", {"vuid": device.vuid})

    def qemu_arguments(self) -> list[str]:
        """What ``softdpu qemu-args`` says."""
        found: list[str] = self._api().get("/v1/qemu-arguments")["arguments"]
        return found

    def query(self, device: Plugged) -> dict[str, Any]:
        """What ``virtnet query`` says of a device."""
        found: dict[str, Any] = self._api().get("/v1/query", {"vuid": device.vuid})["devices"][0]
        return found

    def faults(self, device: Plugged) -> list[str]:
        """What the device's drivers did wrong, as ``virtnet health`` tells it."""
        devices = self._api().get("/v1/health")["devices"]
        return next(entry["faults"] for entry in devices if entry["vuid"] == device.vuid)

    def counters(self, device: Plugged) -> dict[str, int]:
        """The device's counters by name; those of a queue as ``queue0_frames``."""
        return self.all_counters()[device.vuid]

    def all_counters(self) -> dict[str, dict[str, int]]:
        """The counters of each device, by its VUID."""
        found: dict[str, dict[str, int]] = {}
        for line in self._api().text("/metrics").splitlines():
            if matched := METRIC.match(line):
                name, queue, value = matched["name"], matched["queue"], float(matched["value"])
                name = name if queue is None else f"queue{queue}_{name.removeprefix('queue_')}"
                found.setdefault(matched["vuid"], {})[name] = int(value)
        return found

    def metrics(self) -> str:
        """All metrics, as Prometheus reads them."""
        return self._api().text("/metrics")

    def ledgers(self) -> dict[str, dict[str, int]]:
        """The counters of every port by its name: each device, each uplink."""
        ports: dict[str, dict[str, int]] = {}
        for line in self._api().text("/metrics").splitlines():
            if (matched := METRIC.match(line)) and not matched["queue"]:
                ports.setdefault(matched["vuid"], {})[matched["name"]] = int(float(matched["value"]))
        return ports

    def uplinks(self) -> dict[str, dict[str, Any]]:
        """The uplinks that are there, by name, as ``virtnet health`` shows them."""
        return {uplink["name"]: uplink for uplink in self._api().get("/v1/health")["uplinks"]}

    def representor(self, device: Plugged) -> Representor:
        """The DPU's end of a device."""
        return Representor(self.netns, device.representor)

    def representor_named(self, name: str) -> Representor:
        """The same, by the name of its netdev."""
        return Representor(self.netns, name)

    def ip(self, *arguments: str) -> str:
        """Run ``ip`` in the namespace of the representors."""
        return _run("ip", "-n", self.netns, *arguments)

    # ---- the datapath

    def own_mistakes(self) -> list[str]:
        """Lines of both logs that tell of a mistake of the DPU itself, whatever a guest did."""
        logs = (self.log, self.root / "var/log/softdpu/datapath.log")
        lines = [line for log in logs if log.exists() for line in log.read_text(errors="replace").splitlines()]
        return [line for line in lines if any(word in line for word in ("panicked", "Traceback", "model failed"))]

    def fds(self) -> int:
        """File descriptors that the datapath has open."""
        return sum(1 for _ in Path(f"/proc/{self.datapath_pid}/fd").iterdir())

    def resident(self) -> int:
        """Bytes of anonymous memory that the datapath holds."""
        status = Path(f"/proc/{self.datapath_pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))

    def mappings(self) -> int:
        """Memory mappings of the datapath."""
        return len(Path(f"/proc/{self.datapath_pid}/maps").read_text().splitlines())


def _datapath_binary() -> dict[str, str]:
    chosen = os.environ.get("SOFTDPU_DATAPATH") or (str(BUILT) if BUILT.exists() else "")
    return {"SOFTDPU_DATAPATH": chosen} if chosen else {}


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _datapath_at(path: Path) -> int:
    """Process id of the datapath that a controller started and did not live to name; 0 when there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.settimeout(2)
        return msgspec.msgpack.decode(probe.recv(4096), type=Hello).pid if probe.connect_ex(str(path)) == 0 else 0


def _kill(pid: int) -> None:
    if pid <= 0:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and _state(pid) != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def in_namespace(netns: str, make: Callable[[], socket.socket]) -> socket.socket:
    """Call ``make`` in a thread that has entered a network namespace; what it made stays of that namespace."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def work() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/run/netns/{netns}").open() as place:
            if libc.setns(place.fileno(), CLONE_NEWNET):
                failed.append(OSError(ctypes.get_errno(), f"cannot enter the namespace {netns}"))
                return
        made.append(make())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
