"""Recovery files: the documented keys, written whole, and never trusted when read."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from softdpu.controller.errors import OperatorError
from softdpu.controller.recovery import Recovery
from tests.controller.made import made

NAME = "MT2447X00001VNETS1D0F0"
REAL = {
    "port_ib_dev": "mlx5_0",
    "pf_id": 0,
    "function_type": "pf",
    "bdf_raw": 57611,
    "device_type": "hotplug",
    "mac": "0c:c4:7a:ff:22:93",
    "pf_num": 0,
    "sf_num": 2000,
    "mq": 3,
}


@pytest.fixture
def recovery(tmp_path: Path) -> Recovery:
    return Recovery(tmp_path, enabled=True)


def test_a_file_has_the_documented_keys_in_their_order(tmp_path: Path, recovery: Recovery) -> None:
    recovery.write(made())
    written = json.loads((tmp_path / NAME).read_text())
    assert list(written)[:9] == list(REAL)
    assert written["mac"] == "0c:c4:7a:ff:22:00"
    assert written["bdf_raw"] == 0x1500


def test_what_was_written_is_read_back(recovery: Recovery) -> None:
    recovery.write(made(link_up=False, vectors=0))
    found = recovery.read_all()[NAME]
    assert (found.link, found.num_msix, found.transitional, found.mtu) == (0, 0, 1, 1500)


def test_a_file_of_the_product_is_understood(tmp_path: Path, recovery: Recovery) -> None:
    """It says nothing of vectors: the firmware does."""
    (tmp_path / NAME).write_text(json.dumps(REAL))
    assert recovery.read_all()[NAME].num_msix is None


def test_a_file_of_a_later_version_is_understood(tmp_path: Path, recovery: Recovery) -> None:
    (tmp_path / NAME).write_text(json.dumps(REAL | {"aarfs": 1}))
    assert NAME in recovery.read_all()


@pytest.mark.parametrize(
    "change",
    [
        {"mac": "01:00:00:00:00:00"},
        {"mac": "zz"},
        {"pf_id": -1},
        {"pf_num": 7},
        {"sf_num": 5},
        {"mq": 66},
        {"mtu": 67},
        {"max_queue_size": 3},
        {"features": "-0x1"},
        {"bdf_raw": 1 << 16},
        {"device_type": "other"},
        {"num_msix": 1 << 20},
        {"pf_id": "0"},
        {"link": 2},
    ],
)
def test_a_bad_value_is_named_and_the_file_left_alone(
    tmp_path: Path, recovery: Recovery, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    (tmp_path / NAME).write_text(json.dumps(REAL | change))
    assert recovery.read_all() == {}
    assert "is not a recovery file" in caplog.text
    assert next(iter(change)) in caplog.text
    assert (tmp_path / NAME).exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100000, b"x" * (65 << 10)])
def test_damage_costs_one_device(tmp_path: Path, recovery: Recovery, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    recovery.write(made(1))
    assert list(recovery.read_all()) == [made(1).name]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, recovery: Recovery) -> None:
    os.mkfifo(tmp_path / NAME)
    (tmp_path / "MT2447X00001VNETS2D0F0").mkdir()
    assert recovery.read_all() == {}
    recovery.clear()


def test_a_name_that_is_no_vuid_is_no_device(tmp_path: Path, recovery: Recovery) -> None:
    (tmp_path / "my VNETS copy").write_text(json.dumps(REAL))
    assert recovery.read_all() == {}


def test_half_written_files_are_passed_over_and_cleared(tmp_path: Path, recovery: Recovery) -> None:
    (tmp_path / f".{NAME}.new").write_text("{")
    assert recovery.read_all() == {}
    recovery.clear()
    assert list(tmp_path.iterdir()) == []


def test_with_recovery_off_nothing_is_written_or_read(tmp_path: Path) -> None:
    Recovery(tmp_path, enabled=True).write(made())
    off = Recovery(tmp_path, enabled=False)
    off.write(made(1))
    assert off.read_all() == {}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "recovery").write_text("a file where the folder belongs")
    with pytest.raises(OperatorError, match="cannot be written") as refused:
        Recovery(tmp_path / "recovery", enabled=True).write(made())
    assert refused.value.errno in (errno.EEXIST, errno.ENOTDIR)
