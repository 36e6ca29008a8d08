"""softdpu: power, hosts, the end of it all; and what a dead controller leaves behind."""

import fcntl
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from softdpu.controller.root import Root
from softdpu.datapath.messages import Hello
from softdpu.firmware import Firmware
from tests.api.served import Served
from tests.cli.conftest import Command

ENABLE = {"VIRTIO_NET_EMULATION_ENABLE": 1, "VIRTIO_NET_EMULATION_NUM_MSIX": 4}
ORPHAN = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
print(os.getpid(), flush=True)
hello = bytes.fromhex(sys.argv[2]).replace(bytes(4), os.getpid().to_bytes(4))
while True:
    connection = listener.accept()[0]
    try:
        connection.send(hello)
    except BrokenPipeError:  # who asked has gone already
        pass
"""


@contextmanager
def orphaned_datapath(root: Root) -> Iterator["subprocess.Popen[str]"]:
    """A process that greets on the datapath's socket, as a datapath does whose controller has died."""
    root.run.mkdir(parents=True)
    greeting = msgspec.msgpack.encode(Hello(1, 0x7FFFFFFF)).replace(b"\x7f\xff\xff\xff", bytes(4)).hex()
    arguments = [sys.executable, "-c", ORPHAN, str(root.datapath), greeting]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def held_lock(root: Root) -> Iterator[None]:
    """A controller that lives and does not answer."""
    root.run.mkdir(parents=True, exist_ok=True)
    with root.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# ---- power cycle


def test_a_power_cycle_makes_the_next_boot_current(root: Root, run: Command) -> None:
    Firmware.load(root.path).set_next(ENABLE)
    assert run(root, "softdpu power-cycle").status == 0
    assert Firmware.load(root.path).current["VIRTIO_NET_EMULATION_ENABLE"] == 1


def test_no_recovery_file_survives_a_power_cycle(root: Root, run: Command) -> None:
    root.recovery.mkdir(parents=True)
    for name in ("MT2447X00000VNETS1D0F0", "README"):
        (root.recovery / name).write_text("{}")
    assert run(root, "softdpu power-cycle").status == 0
    assert [path.name for path in root.recovery.iterdir()] == ["README"]


def test_a_running_controller_does_it_and_is_waited_for(served: Served, run: Command) -> None:
    Firmware.load(served.root.path).set_next(ENABLE)
    before = served.server
    assert run(served.root, "softdpu power-cycle").status == 0
    assert (served.left, served.server is before) == (["power-cycle"], False)


def test_a_refused_power_cycle_is_one_sentence(served: Served, run: Command) -> None:
    served.desk.bound.add("someone")
    printed = run(served.root, "softdpu power-cycle")
    assert (printed.status, printed.err) == (1, "softdpu: hosts use devices: add --force.\n")
    assert run(served.root, "softdpu power-cycle --force").status == 0


def test_a_controller_that_does_not_answer_is_not_worked_around(root: Root, run: Command) -> None:
    with held_lock(root):
        for verb in ("power-cycle", "power-cycle --force", "stop"):
            printed = run(root, f"softdpu {verb}")
            assert (printed.status, "it starts or hangs" in printed.err) == (1, True)


def test_an_orphaned_datapath_refuses_a_power_cycle_unless_forced(root: Root, run: Command) -> None:
    with orphaned_datapath(root) as process:
        printed = run(root, "softdpu power-cycle")
        assert (printed.status, "its datapath does and may serve guests" in printed.err) == (1, True)
        assert process.poll() is None
        assert run(root, "softdpu power-cycle --force").status == 0
        assert process.wait(10) == -15


# ---- stop, restart


def test_stop_returns_when_nobody_serves(served: Served, run: Command) -> None:
    assert run(served.root, "softdpu stop").status == 0
    assert served.left == ["stop"]


def test_stop_ends_an_orphaned_datapath(root: Root, run: Command) -> None:
    with orphaned_datapath(root) as process:
        assert run(root, "softdpu stop").status == 0
        assert process.wait(10) == -15


def test_stop_with_nothing_running_says_so(root: Root, run: Command) -> None:
    printed = run(root, "softdpu stop")
    assert (printed.status, printed.err.startswith("softdpu: the controller does not run")) == (1, True)


def test_a_stranger_on_the_datapaths_socket_is_left_alone(root: Root, run: Command) -> None:
    root.run.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.bind(str(root.datapath))
        stranger.listen()
        stranger.settimeout(10)
        with subprocess.Popen(
            [sys.executable, "-c", "from softdpu.cli.softdpu import main; main()", "--root", str(root.path), "stop"],
            stderr=subprocess.PIPE,
            text=True,
        ) as stopping:
            stranger.accept()[0].send(b"hello")
            assert "does not speak as a datapath does" in stopping.communicate(timeout=10)[1]


def test_virtnet_restart_returns_when_the_successor_answers(served: Served, run: Command) -> None:
    before = served.server
    printed = run(served.root, "virtnet restart")
    assert (printed.status, served.server is before) == (0, False)
    assert printed.out == '{\n  "errno": 0,\n  "errstr": "Success"\n}\n'


# ---- hosts, explanations, papers


def test_hosts_are_attached_by_absolute_path(served: Served, run: Command) -> None:
    assert run(served.root, "softdpu host attach qmp.sock --name a").json["name"] == "a"
    assert run(served.root, "softdpu host list").json == {
        "hosts": [{"name": "a", "qmp": str(Path("qmp.sock").absolute())}]
    }
    assert run(served.root, "softdpu host detach a").status == 0
    assert run(served.root, "softdpu host list").json == {"hosts": []}


def test_qemu_args_are_quoted_for_a_shell(served: Served, run: Command) -> None:
    out = run(served.root, "softdpu qemu-args").out
    assert out == """-device '{"driver":"vfio-user-pci"}'\n"""


def test_explain_is_a_row_a_bit(served: Served, run: Command) -> None:
    run(served.root, "virtnet hotplug -i mlx5_0 -m 0C:C4:7A:FF:22:93 -t 1500 -n 3 -s 1024 -l")
    lines = run(served.root, "softdpu explain -p 0").out.splitlines()
    assert lines[0] == "MT2447X00000VNETS1D0F0, driven as: legacy"
    assert lines[2].split(maxsplit=4) == [
        "32",
        "VIRTIO_F_VERSION_1",
        "yes",
        "no",
        "a legacy driver sees bits 0 to 31 only",
    ]


def test_docs_are_the_tables(root: Root, run: Command, tmp_path: Path) -> None:
    assert run(root, f"softdpu docs {tmp_path}").status == 0
    assert "| `VIRTIO_NET_EMULATION_NUM_PF` | 0..31 | 0 |" in (tmp_path / "firmware.md").read_text()
    assert "| `sf_pool_percent` | a number in 0..100 | 0 |" in (tmp_path / "virtnet-conf.md").read_text()
    assert "## virtnet modify device" in (tmp_path / "virtnet.md").read_text()
    assert '"/v1/hotplug"' in (tmp_path / "openapi.json").read_text()


@pytest.mark.parametrize("line", ["", "nothing", "host", "host attach", "explain", "power-cycle --hard"])
def test_usage_errors_exit_2(root: Root, run: Command, line: str) -> None:
    assert run(root, f"softdpu {line}").status == 2


def test_doctor_exits_by_its_worst_row(tmp_path: Path, run: Command) -> None:
    """It needs no controller; a tree without anything in it has no driver for virtio devices."""
    outcome = run(Root(tmp_path), f"softdpu doctor --json --tree {tmp_path}")
    report = json.loads(outcome.out)
    assert (outcome.status, report["verdict"]) == (2, "bad")
    assert {"check": "virtio_pci", "found": "missing", "verdict": "bad"}.items() <= report["checks"][3].items()
