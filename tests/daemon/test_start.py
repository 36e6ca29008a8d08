"""A controller that cannot start says why in one sentence, exits 1, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from softdpu.controller.root import Root
from softdpu.controller.update import LiveUpdate
from softdpu.firmware import Firmware
from tests.dpu_under_test import BUILT, FIRMWARE, Dpu


def start(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "softdpu.daemon", "--root", str(root), *arguments]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )


def refused(root: Path, *arguments: str, **environment: str) -> str:
    """The sentence with which it refuses."""
    done = start(root, *arguments, **environment)
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("virtio-net-controller: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    sockets = [path.name for path in (root / "run/virtnet").glob("*") if path.is_socket()]
    assert sockets == []
    return lines[0]


@pytest.fixture
def root() -> "TemporaryDirectory[str]":
    return TemporaryDirectory(prefix="dpu-")


def ready(root: Path, **settings: int) -> Path:
    firmware = Firmware.load(root)
    firmware.set_next(FIRMWARE | settings)
    firmware.power_cycle()
    return root


def test_emulation_that_is_off(root: "TemporaryDirectory[str]") -> None:
    with root as path:
        assert "VIRTIO_NET_EMULATION_ENABLE=1" in refused(Path(path))


def test_a_datapath_that_is_not_installed(root: "TemporaryDirectory[str]") -> None:
    with root as path:
        assert "make install" in refused(ready(Path(path)), SOFTDPU_DATAPATH="/nowhere/datapath")


@pytest.mark.parametrize("program", ["/etc/passwd", "/bin/false"])
def test_a_datapath_that_is_none(root: "TemporaryDirectory[str]", program: str) -> None:
    with root as path:
        assert "datapath" in refused(ready(Path(path)), SOFTDPU_DATAPATH=program)


def test_a_live_update_that_brings_it_has_failed(root: "TemporaryDirectory[str]") -> None:
    with root as path:
        place = Root(ready(Path(path)))
        place.run.mkdir(parents=True)
        LiveUpdate(place).start()
        refused(place.path, SOFTDPU_DATAPATH="/bin/false")
        assert LiveUpdate(place).status()["last status"] == "failure"


def test_a_rehearsal_touches_nothing(own_dpu: Dpu) -> None:
    before = sorted(own_dpu.root.rglob("*"))
    assert start(own_dpu.root, "--rehearse").returncode == 0
    assert sorted(own_dpu.root.rglob("*")) == before
    assert own_dpu.virtnet("list").status == 0


def test_a_root_that_is_too_long(tmp_path: Path) -> None:
    assert "Choose a shorter one with --root" in refused(tmp_path / ("x" * 100))


def test_a_second_controller(own_dpu: Dpu) -> None:
    assert own_dpu.controller is not None
    before = (own_dpu.root / "run/virtnet/controller.lock").read_text()
    done = start(own_dpu.root)
    assert done.returncode == 1
    assert f"another controller (pid {own_dpu.controller.pid})" in done.stderr
    assert (own_dpu.root / "run/virtnet/controller.lock").read_text() == before
    assert own_dpu.virtnet("list").status == 0


def test_a_namespace_that_does_not_exist_ends_the_datapath_too(root: "TemporaryDirectory[str]") -> None:
    with root as path:
        ready(Path(path), VIRTIO_NET_EMULATION_NUM_PF=1)
        said = refused(Path(path), "--netns", "nowhere", **own_binary())
        assert "ip netns add nowhere" in said


def test_one_static_pf_that_cannot_be_made_leaves_none(own_dpu: Dpu) -> None:
    """The second's representor has a name that is taken: the first goes again, and the datapath with it."""
    own_dpu.ip("tuntap", "add", "en3f0pf0sf1001", "mode", "tap")
    with TemporaryDirectory(prefix="dpu-") as path:
        ready(Path(path), VIRTIO_NET_EMULATION_NUM_PF=2)
        said = refused(Path(path), "--netns", own_dpu.netns, **own_binary())
        assert "ip link del en3f0pf0sf1001" in said
    assert "en3f0pf0sf1000" not in own_dpu.ip("link")


def own_binary() -> dict[str, str]:
    return {"SOFTDPU_DATAPATH": os.environ.get("SOFTDPU_DATAPATH") or str(BUILT)}
