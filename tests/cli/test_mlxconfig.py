"""mlxconfig: output as the real one prints it, all or nothing, and a sentence for each mistake."""

import io

import pytest

from softdpu.controller.root import Root
from softdpu.firmware import Firmware
from tests.cli.conftest import Command

DEVICE = "mlxconfig -d 03:00.0"
TRANSITIONAL = "VIRTIO_NET_EMULATION_PF_PCI_LAYOUT=1 VIRTIO_EMULATION_HOTPLUG_TRANS=1"
HEADER = "\nDevice #1:\n----------\n\nDevice type:        BlueField3\n"


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What the operator types at the question."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_query_shows_the_next_boot(root: Root, run: Command) -> None:
    printed = run(root, f"{DEVICE} q VIRTIO_NET_EMULATION_ENABLE VIRTIO_NET_EMULATION_NUM_MSIX")
    assert printed.status == 0
    assert printed.out.startswith(HEADER)
    assert printed.out.endswith(
        "Device:             03:00.0\n\n"
        "Configurations:                                          Next Boot\n"
        "        VIRTIO_NET_EMULATION_ENABLE                 False(0)\n"
        "        VIRTIO_NET_EMULATION_NUM_MSIX               2\n"
    )


def test_query_e_shows_three_boots_and_stars_what_differs(root: Root, run: Command) -> None:
    run(root, f"{DEVICE} -y s VIRTIO_NET_EMULATION_NUM_MSIX=8")
    out = run(root, f"{DEVICE} q -e VIRTIO_NET_EMULATION_NUM_MSIX SRIOV_EN").out
    rows = [line.split() for line in out.splitlines() if "NUM_MSIX" in line or "SRIOV" in line]
    assert rows == [
        ["*", "VIRTIO_NET_EMULATION_NUM_MSIX", "2", "2", "8"],
        ["SRIOV_EN", "False(0)", "False(0)", "False(0)"],
    ]
    assert [line.split()[1:] for line in out.splitlines() if line.startswith("Conf")] == [
        ["Default", "Current", "Next", "Boot"]
    ]
    assert out.endswith("The '*' shows parameters with next value different from default/current value.\n")


def test_query_without_names_shows_every_parameter(root: Root, run: Command) -> None:
    out = run(root, "mlxconfig -d /dev/mst/mt41692_pciconf0 q").out
    assert out.count("\n        ") == 18
    assert "\nDevice:             /dev/mst/mt41692_pciconf0\n" in out


def test_the_seed_set_line(root: Root, run: Command) -> None:
    printed = run(root, f"{DEVICE} -y s {TRANSITIONAL}")
    assert printed.status == 0
    assert "        VIRTIO_EMULATION_HOTPLUG_TRANS              False(0)             True(1)\n" in printed.out
    assert printed.out.endswith(
        "\n Apply new Configuration? (y/n) [n] : y\n"
        "Applying... Done!\n"
        "-I- Please reboot machine to load new configurations.\n"
    )
    assert Firmware.load(root.path).next["VIRTIO_NET_EMULATION_PF_PCI_LAYOUT"] == 1


@pytest.mark.parametrize(
    "line", ["mlxconfig -y -d 03:00.0 set", "mlxconfig -d 03:00.0 s -y", "mlxconfig -d mlx5_0 -y s"]
)
def test_options_may_stand_anywhere(root: Root, run: Command, line: str) -> None:
    assert run(root, f"{line} SRIOV_EN=True").status == 0
    assert Firmware.load(root.path).next["SRIOV_EN"] == 1


@pytest.mark.parametrize("typed", ["y\n", "YES\n", " y \n"])
def test_yes_applies(root: Root, run: Command, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    answer(monkeypatch, typed)
    assert run(root, f"{DEVICE} s SRIOV_EN=1").status == 0
    assert Firmware.load(root.path).next["SRIOV_EN"] == 1


@pytest.mark.parametrize("typed", ["", "\n", "n\n", "yep\n"])
def test_anything_else_or_the_end_of_input_aborts(
    root: Root, run: Command, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    answer(monkeypatch, typed)
    printed = run(root, f"{DEVICE} s SRIOV_EN=1")
    assert printed.status == 1
    assert printed.out.endswith("-E- Aborted by user.\n")
    assert Firmware.load(root.path).next["SRIOV_EN"] == 0


def test_reset_asks_and_brings_the_defaults(root: Root, run: Command) -> None:
    run(root, f"{DEVICE} -y s SRIOV_EN=1")
    printed = run(root, f"{DEVICE} -y reset")
    assert printed.out == (
        "\n Reset configuration for device 03:00.0? (y/n) [n] : y\n"
        "Applying... Done!\n"
        "-I- Please reboot machine to load new configurations.\n"
    )
    assert Firmware.load(root.path).next["SRIOV_EN"] == 0


def test_reset_mends_a_damaged_file(root: Root, run: Command) -> None:
    file = Firmware.load(root.path).path
    file.parent.mkdir(parents=True)
    file.write_text("{")
    assert run(root, f"{DEVICE} q").status == 1
    assert run(root, f"{DEVICE} -y reset").status == 0
    assert run(root, f"{DEVICE} q").status == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("s VIRTIO_NET_EMULATION_NUM_PF=32", "VIRTIO_NET_EMULATION_NUM_PF=32 is out of range: it must be 0..31."),
        ("s PCI_SWITCH_EMULATION_NUM_PORT=33", "it must be 0..32."),
        ("s SRIOV_EN=1 NUM_OF_VFS=x", "NUM_OF_VFS=x is not a value: it must be 0..127."),
        ("s SRIOV_EN=1 SRIOV_EN=0", "SRIOV_EN is set twice: give it once."),
        ("s SRIOV_EN", "SRIOV_EN is no assignment: write SRIOV_EN=VALUE."),
        ("s", "nothing to set: give NAME=VALUE"),
        ("s SRIOV_EM=1", "there is no parameter SRIOV_EM; did you mean SRIOV_EN?"),
        (
            "s VIRTIO_NET_EMULATION_NUM_MSIX=2 VIRTIO_NET_EMULATION_ENABLE=1",
            "Set VIRTIO_NET_EMULATION_NUM_MSIX=4 or more together with it.",
        ),
        ("q SRIOV", "there is no parameter SRIOV; did you mean SRIOV_EN?"),
        ("reset SRIOV_EN", "reset takes no names, but SRIOV_EN was given"),
    ],
)
def test_a_refusal_is_one_sentence_and_changes_nothing(root: Root, run: Command, words: str, sentence: str) -> None:
    printed = run(root, f"{DEVICE} -y {words}")
    assert printed.status == 1
    assert printed.out.startswith("-E- ")
    assert sentence in printed.out
    assert printed.out.count("\n") == 1
    assert not Firmware.load(root.path).path.exists()


@pytest.mark.parametrize("device", ["03:00", "eth0", "/dev/sda", "03:00.8", "03:00.0;ls"])
def test_a_device_of_unknown_form_is_refused(root: Root, run: Command, device: str) -> None:
    printed = run(root, f"mlxconfig -d {device} q")
    assert (printed.status, printed.out.startswith(f"-E- Failed to open device: {device}.")) == (1, True)


def test_changing_needs_a_device(root: Root, run: Command) -> None:
    assert "no device is named: add -d" in run(root, "mlxconfig -y s SRIOV_EN=1").out


def test_show_confs_names_every_parameter_with_its_values(root: Root, run: Command) -> None:
    out = run(root, "mlxconfig -d 03:00.0 i").out
    assert "VIRTIO_NET_EMULATION_NUM_PF             0..31\n" in out


def test_usage_errors_exit_2(root: Root, run: Command) -> None:
    assert run(root, "mlxconfig -d 03:00.0 frobnicate").status == 2
    assert run(root, "mlxconfig -d 03:00.0").status == 2
