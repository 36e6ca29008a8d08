"""Hundreds of VFs, many of them driven, and every second something happens to one: the others do not notice.

On the last PF are VFs that are *destroyed*: a host cannot destroy one alone, so all of that PF go at once
(``echo 0 > sriov_numvfs`` under their drivers), and come back. The others are reset or their drivers killed.
"""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tests.dpu_under_test import FIRMWARE, Dpu
from tests.vfs import listed
from tools.soak.crowd import PATIENCE, Crowd, Disturbed, Member, State
from tools.soak.flows import LEFT, RIGHT, Ring
from tools.soak.held import Held, busy
from tools.soak.report import Report, Row
from tools.soak.station import KINDS, RESETS, Place

PART: Final = "VFs"
GATHER: Final = 10.0  # s between two looks at what the operator sees
WARM: Final = 3  # times that VFs go and come before anything is measured
NAMED: Final = {"no_buffer", "not_ready", "representor_down"}  # why frames to victims, and floods, can be dropped
LINES: Final = 20  # of a log, that tell what happened at the end
IDLE: Final = 5.0  # s over which idle processes are watched
# Bytes that an allocator may hold back. 126 VFs that went and came 150 times left the controller with 15 MiB more than
# at its start, most of it from the first 75: its heap settles.
SLACK: Final = {"datapath": 8 << 20, "controller": 24 << 20, "host": 8 << 20}
MORE: Final = {"datapath": 0, "controller": 32, "host": 32}  # mappings: Python's allocator makes some as it likes
ON_DEMAND: Final = ("split", "packed")  # what VFs that are destroyed can be: one in a VM is kept by the host's kernel
BDF: Final = "0000:{}"


@dataclass(frozen=True)
class Size:
    """How many of everything."""

    pfs: int = 4
    vfs: int = 126  # of each PF
    driven: int = 100
    destroyed: int = 10  # of the driven ones
    seconds: float = 300.0
    every: float = 1.0  # s between two events

    @property
    def total(self) -> int:
        """VFs in all."""
        return self.pfs * self.vfs


@dataclass
class Done:
    """What happened to whom."""

    events: Counter[str] = field(default_factory=Counter)
    victims: set[str] = field(default_factory=set)  # VUIDs
    looks: int = 0


class Host:
    """The simulated host: its shell, as an operator has it."""

    def __init__(self, dpu: Dpu) -> None:
        self.dpu = dpu

    def begin(self, script: str) -> "subprocess.Popen[str]":
        """A script on the host."""
        return self._softdpu("host", "shell", "-c", f"exec 2>&1\n{script}")

    def run(self, script: str) -> str:
        """What it prints. Raises RuntimeError with that when it fails."""
        return finished(self.begin(f"set -e\n{script}"))

    def off(self) -> None:
        """No host any more."""
        self._softdpu("host", "off").communicate(timeout=60)

    def _softdpu(self, *words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", "from softdpu.cli.softdpu import main; main()", *words]
        return subprocess.Popen(
            command, env=self.dpu.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return int((self.dpu.root / "run/virtnet/host/pid").read_text())


def finished(process: "subprocess.Popen[str]", timeout: float = 120.0) -> str:
    """Waits for a script. Raises RuntimeError."""
    said, _ = process.communicate(timeout=timeout)
    if process.returncode:
        raise RuntimeError(f"on the host: {said}")
    return said


class Scene:
    """A DPU whose PFs all have their VFs, and the host that they are plugged into."""

    def __init__(self, dpu: Dpu, host: Host, size: Size) -> None:
        self.dpu, self.host, self.size = dpu, host, size
        self.folder = dpu.root

    def pf(self, number: int) -> str:
        """A PF's address, as the host writes it."""
        return BDF.format(listed(self.dpu, "static PF")[number]["pci_bdf"])

    def again(self) -> "subprocess.Popen[str]":
        """The last PF's VFs go, and come back."""
        file = f"/sys/bus/pci/devices/{self.pf(self.size.pfs - 1)}/sriov_numvfs"
        return self.host.begin(f"set -e; echo 0 > {file}; echo {self.size.vfs} > {file}")

    def processes(self) -> dict[str, int]:
        """Who must not grow."""
        assert self.dpu.controller is not None
        return {"datapath": self.dpu.datapath_pid, "controller": self.dpu.controller.pid, "host": self.host.pid}

    def places(self) -> list[Place]:
        """Driven VFs, mixed: neighbours are of different kinds, and most of different PFs."""
        chosen = self._chosen()
        self._hand_on([vf for vf, kind in chosen if kind == "legacy"])
        ring, macs = Ring(len(chosen)), [bytes.fromhex(vf["mac"].replace(":", "")) for vf, _ in chosen]
        return [
            Place(
                number,
                ring.count,
                kind,
                vf["vuid"],
                vf["pf_id"],
                self._socket(vf, kind),
                macs[number],
                (macs[ring.neighbour(number, LEFT)], macs[ring.neighbour(number, RIGHT)]),
            )
            for number, (vf, kind) in enumerate(chosen)
        ]

    def _chosen(self) -> list[tuple[dict[str, Any], str]]:
        """VFs with their kinds, those that are destroyed spread among the others."""
        vfs, others = listed(self.dpu), self.size.pfs - 1
        of_pf = [[vf for vf in vfs if vf["pf_id"] == pf] for pf in range(self.size.pfs)]
        kept = self.size.driven - self.size.destroyed
        chosen = [(of_pf[n % others][n // others], list(KINDS)[n % len(KINDS)]) for n in range(kept)]
        for n, vf in enumerate(of_pf[-1][: self.size.destroyed]):
            chosen.insert((n + 1) * kept // self.size.destroyed + n, (vf, ON_DEMAND[n % len(ON_DEMAND)]))
        return chosen

    def _hand_on(self, vfs: list[dict[str, Any]]) -> None:
        """To VMs, by virtio_vfio_pci, as transitional functions."""
        lines = ["modprobe virtio_vfio_pci", "cd /sys/bus/pci"]
        for address in (BDF.format(vf["pci_bdf"]) for vf in vfs):
            lines += [f"echo virtio_vfio_pci > devices/{address}/driver_override", f"echo {address} > drivers_probe"]
        self.host.run("\n".join(lines))

    def _socket(self, vf: dict[str, Any], kind: str) -> Path:
        own = Path(vf["export_socket"])
        return self.dpu.root / "run/virtnet/host" / own.name if kind == "legacy" else own


@contextmanager
def scene(size: Size) -> Iterator[Scene]:
    """The DPU and its host."""
    firmware = FIRMWARE | {
        "VIRTIO_NET_EMULATION_NUM_PF": size.pfs,
        "VIRTIO_NET_EMULATION_NUM_VF": size.vfs,
        "PF_TOTAL_SF": 2 * size.total + 64,
    }
    with Dpu(firmware, lm_prov="kernel", packed_vq=1) as dpu:
        host = Host(dpu)
        try:
            yield Scene(dpu, host, size)
        except Disturbed as why:
            raise Disturbed(f"{why}\n{_said(dpu, str(why).split()[0])}") from why
        finally:
            host.off()
        if mistakes := dpu.own_mistakes():
            raise Disturbed("\n".join(mistakes))


def _said(dpu: Dpu, vuid: str) -> str:
    """What both logs have of a function, and at their ends."""
    logs = (dpu.log, dpu.root / "var/log/softdpu/datapath.log", dpu.root / "var/log/softdpu/host.log")
    lines = [log.read_text(errors="replace").splitlines() for log in logs if log.exists()]
    return "\n".join(line for log in lines for line in [*(each for each in log if f"{vuid}:" in each), *log[-LINES:]])


# ---- what is done


def run(report: Report, size: Size) -> None:
    """All of it. Raises Disturbed when somebody was to whom nothing was done."""
    with scene(size) as stage, ExitStack() as stack:
        _made(report, stage)
        crowd = stack.enter_context(Crowd(stage.places(), stage.folder / "flows"))
        crowd.start_all()
        crowd.all_up()
        crowd.quiesce()
        _left(stage, crowd)
        for _ in range(WARM):  # what stays of the first times: caches, arenas
            finished(stage.again())
        before = _held(stage)
        crowd.start_all()
        crowd.all_up()
        done = _chaos(stage, crowd)
        crowd.all_up()
        crowd.quiesce()
        _judge(report, stage, crowd, done)
        _left(stage, crowd)
        _leaks(report, before, _settled(stage, before))


def _made(report: Report, stage: Scene) -> None:
    """Every PF's VFs, and what they cost while nobody drives them."""
    size = stage.size
    stage.host.run("true")  # it boots
    empty = _held(stage)
    made = make(stage)
    began = time.monotonic()
    there = len(listed(stage.dpu))
    took = time.monotonic() - began
    added = {name: (held.memory - empty[name].memory) / (1 << 20) for name, held in _held(stage).items()}
    cpu = busy(stage.processes(), IDLE)
    seen = f"{there} made in {made:.1f} s, listed in {took:.2f} s; idle: " + ", ".join(
        f"{name} +{added[name]:.0f} MiB {cpu[name]:.1f} %" for name in cpu
    )
    figures = {"vfs": there, "created_s": made, "listed_s": took, "added_mib": added, "idle_cpu_percent": cpu}
    report.add(Row(PART, f"{size.total} VFs of {size.pfs} PFs by sriov_numvfs", seen, there == size.total, figures))


def make(stage: Scene) -> float:
    """All VFs; none is bound to the host's own driver. How many s it took."""
    pfs = [f"/sys/bus/pci/devices/{stage.pf(number)}" for number in range(stage.size.pfs)]
    stage.host.run("\n".join(f"echo 0 > {pf}/sriov_drivers_autoprobe" for pf in pfs))
    began = time.monotonic()
    stage.host.run("\n".join(f"echo {stage.size.vfs} > {pf}/sriov_numvfs" for pf in pfs))
    return time.monotonic() - began


def _left(stage: Scene, crowd: Crowd) -> None:
    """All drivers have gone, and the DPU has noticed."""
    crowd.leave()
    deadline = time.monotonic() + PATIENCE
    while any(vf["vmm"] == "connected" for vf in listed(stage.dpu)):
        if time.monotonic() > deadline:
            raise Disturbed("VMMs have gone, and are still seen as connected")
        time.sleep(0.2)


def _held(stage: Scene) -> dict[str, Held]:
    return {name: Held.by(pid) for name, pid in stage.processes().items()}


def _settled(stage: Scene, before: dict[str, Held]) -> dict[str, Held]:
    """What is held once there are no more descriptors than before, or some seconds later: a question has some too."""
    deadline = time.monotonic() + IDLE
    held = _held(stage)
    while time.monotonic() < deadline and any(held[name].descriptors > before[name].descriptors for name in held):
        time.sleep(0.2)
        held = _held(stage)
    return held


def _chaos(stage: Scene, crowd: Crowd) -> Done:
    """Something happens to a random one, again and again."""
    done, destroying = Done(), Destruction(stage, crowd)
    now = time.monotonic()
    end, event, look = now + stage.size.seconds, now, now
    while now < end:
        crowd.pump(max(0.0, min(event, look, end) - now))
        destroying.go_on()
        now = time.monotonic()
        if now >= event:
            event += stage.size.every
            _happen(crowd, destroying, done)
        if now >= look:
            look += GATHER
            _looked_at(stage, crowd)
            done.looks += 1
    while destroying.under_way:
        crowd.pump(0.2)
        destroying.go_on()
    return done


def _happen(crowd: Crowd, destroying: "Destruction", done: Done) -> None:
    member = random.choice(crowd.up())
    victims = [member]
    if member.place.pf == destroying.pf:
        victims = destroying.begin()
        what = "destroyed"
    elif random.random() < 0.5:
        crowd.kill(member)
        what = "killed"
    else:
        how = random.choice(list(RESETS))
        crowd.reset(member, how)
        what = f"reset ({how})"
    done.events[f"{what}, {member.place.kind}"] += 1
    done.victims |= {victim.place.vuid for victim in victims}


class Destruction:
    """The last PF's VFs go under their drivers, all at once, and come back: a host can destroy no single one."""

    def __init__(self, stage: Scene, crowd: Crowd) -> None:
        self.pf = stage.size.pfs - 1
        self.members = [member for member in crowd.members if member.place.pf == self.pf]
        self.crowd = crowd
        self.stage = stage
        self._running: subprocess.Popen[str] | None = None

    @property
    def under_way(self) -> bool:
        """Whether they are not all back yet."""
        return self._running is not None

    def begin(self) -> list[Member]:
        """They go, all of them."""
        self.crowd.expect_to_lose(self.members)
        self._running = self.stage.again()
        return self.members

    def go_on(self) -> None:
        """Their drivers come back when they have."""
        if self._running is None or self._running.poll() is None:
            return
        finished(self._running)
        if all(member.state is State.GONE for member in self.members):
            self._running = None
            self.crowd.start_all()


def _looked_at(stage: Scene, crowd: Crowd) -> None:
    """The operator sees each that drives its device as it is. Raises Disturbed."""
    before = {member.place.vuid for member in crowd.up()}
    shown = {vf["vuid"]: vf for vf in listed(stage.dpu)}
    crowd.pump(0.01)  # who fell meanwhile says so
    for vuid in before & {member.place.vuid for member in crowd.up()}:
        if shown[vuid]["vmm"] != "connected":
            raise Disturbed(f"{vuid} is in use, and the operator sees {shown[vuid]['vmm']}")


# ---- what must be so


def _judge(report: Report, stage: Scene, crowd: Crowd, done: Done) -> None:
    frames, events = crowd.delivered, sum(done.events.values())
    kinds = Counter(member.place.kind for member in crowd.members)
    report.add(
        Row(
            PART,
            f"{len(crowd.members)} driven at once ({', '.join(f'{n} {kind}' for kind, n in kinds.items())}), "
            f"{stage.size.seconds:.0f} s",
            f"{events} events ({_by_word(done.events)}), {len(done.victims)} victims; "
            f"{frames} frames in order between the others, none lost; longest silence of one "
            f"{crowd.silence:.2f} s, of a read of its status {crowd.slowest:.2f} s",
            events > 0 and frames > 0,
            {
                "events": dict(done.events),
                "frames": frames,
                "silence_s": crowd.silence,
                "status_read_s": crowd.slowest,
                "looks": done.looks,
            },
        )
    )
    ledgers = _ledgers(stage)
    missing = {vuid: gap for vuid, ledger in ledgers.items() if (gap := _missing(ledger))}
    dropped = Counter[str]()
    for member in crowd.members:
        dropped.update(ledgers[member.place.vuid]["dropped"])
    report.add(
        Row(
            PART,
            "the ledger of each function, and frames to and from victims",
            f"{len(ledgers) - len(missing)} of {len(ledgers)} close; {crowd.lost} frames went with a victim; "
            f"dropped by the driven, by name: {_by_count(dropped)}",
            not missing and dropped.keys() <= NAMED,
            {"lost_with_victims": crowd.lost, "dropped": dict(dropped), "missing": missing},
        )
    )


def _by_word(events: Counter[str]) -> str:
    words = Counter[str]()
    for event, count in events.items():
        words[event.split(",")[0].split()[0]] += count
    return _by_count(words)


def _by_count(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counted.most_common()) or "none"


def _ledgers(stage: Scene) -> dict[str, Any]:
    """What ``virtnet health`` shows, once nothing moves any more."""
    health = stage.dpu.virtnet("health").json
    return {device["vuid"]: device["frames"] for device in health["devices"]}


def _missing(ledger: dict[str, Any]) -> int:
    return int(ledger["came_in"] + ledger["copies"] - ledger["went_out"] - sum(ledger["dropped"].values()))


def _leaks(report: Report, before: dict[str, Held], after: dict[str, Held]) -> None:
    grown = {name: after[name].memory - held.memory for name, held in before.items()}
    for name, held in before.items():
        now = after[name]
        few = now.descriptors <= held.descriptors and now.mappings <= held.mappings + MORE[name]
        little = grown[name] <= SLACK[name]
        figures = {"before": held._asdict(), "after": now._asdict()}
        row = Row(PART, f"what the {name} holds, before and after", f"{held} → {now}", few and little)
        report.add(replace(row, figures=figures))
