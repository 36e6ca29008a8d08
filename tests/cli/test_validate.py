"""virtnet validate: a virtnet.conf is checked without a controller."""

from pathlib import Path

import pytest

from softdpu.controller.root import Root
from softdpu.firmware import Firmware
from tests.cli.conftest import Command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "virtnet.conf"


def test_a_good_file_is_success(root: Root, run: Command, file: Path) -> None:
    file.write_text('{ "recovery": 1, }')
    printed = run(root, f"virtnet validate -f {file}")
    assert printed.status == 0
    assert printed.json == {"file": str(file), "errors": [], "warnings": [], "errno": 0, "errstr": "Success"}


def test_every_mistake_is_listed_with_its_line(root: Root, run: Command, file: Path) -> None:
    file.write_text('{\n "recovry": 1,\n "is_lag": "x"\n}')
    printed = run(root, f"virtnet validate -f {file}")
    assert (printed.status, printed.json["errno"]) == (1, 22)
    assert [(error["line"], error["key"]) for error in printed.json["errors"]] == [(2, "recovry"), (3, "is_lag")]
    assert f"{file}, line 2: there is no key recovry; did you mean recovery?" in printed.json["errstr"]


def test_vfs_are_checked_against_the_firmware(root: Root, run: Command, file: Path) -> None:
    Firmware.load(root.path).set_next({"VIRTIO_NET_EMULATION_NUM_VF": 4})
    Firmware.load(root.path).power_cycle()
    file.write_text('{ "vf": { "vfs_per_pf": 5 } }')
    assert "more than VIRTIO_NET_EMULATION_NUM_VF=4" in run(root, f"virtnet validate -f {file}").json["errstr"]


def test_a_file_that_the_firmware_makes_void_is_warned_of(root: Root, run: Command, file: Path) -> None:
    file.write_text('{ "lm_prov": "kernel" }')
    printed = run(root, f"virtnet validate -f {file}")
    assert (printed.status, printed.json["errno"]) == (0, 0)
    assert [(w["line"], "allows no VFs" in w["sentence"]) for w in printed.json["warnings"]] == [(0, True)]


def test_without_a_name_the_installed_file_is_checked(root: Root, run: Command) -> None:
    root.configuration.parent.mkdir(parents=True)
    root.configuration.write_text("[]")
    assert run(root, "virtnet validate").json["file"] == str(root.configuration)


def test_a_file_that_is_not_there_is_refused(root: Root, run: Command, file: Path) -> None:
    printed = run(root, f"virtnet validate -f {file}")
    assert (printed.status, printed.json["errno"]) == (1, 2)
