"""The settings on disk: three boots, all or nothing, and no file that can do harm."""

import json
import threading
from pathlib import Path

import pytest

from softdpu.firmware import Firmware, FirmwareError

MSIX = "VIRTIO_NET_EMULATION_NUM_MSIX"
ENABLE = "VIRTIO_NET_EMULATION_ENABLE"


def stored(root: Path) -> Path:
    return root / "var/lib/softdpu/firmware.json"


def damage(root: Path, text: str | bytes) -> None:
    stored(root).parent.mkdir(parents=True)
    stored(root).write_bytes(text.encode() if isinstance(text, str) else text)


def test_a_fresh_root_has_the_defaults_and_no_file(tmp_path: Path) -> None:
    firmware = Firmware.load(tmp_path)
    assert firmware.current == firmware.next == firmware.default
    assert not stored(tmp_path).exists()


def test_a_set_waits_for_the_power_cycle(tmp_path: Path) -> None:
    Firmware.load(tmp_path).set_next({ENABLE: 1, MSIX: 8})
    assert (Firmware.load(tmp_path).current[MSIX], Firmware.load(tmp_path).next[MSIX]) == (2, 8)
    Firmware.load(tmp_path).power_cycle()
    assert (Firmware.load(tmp_path).current[MSIX], Firmware.load(tmp_path).next[MSIX]) == (8, 8)


def test_one_bad_value_changes_nothing(tmp_path: Path) -> None:
    Firmware.load(tmp_path).set_next({MSIX: 8})
    before = stored(tmp_path).read_bytes()
    with pytest.raises(FirmwareError, match=r"NUM_PF=99 is out of range: it must be 0\.\.31"):
        Firmware.load(tmp_path).set_next({MSIX: 16, "VIRTIO_NET_EMULATION_NUM_PF": 99})
    assert stored(tmp_path).read_bytes() == before


def test_reset_is_for_the_next_boot(tmp_path: Path) -> None:
    Firmware.load(tmp_path).set_next({MSIX: 8})
    Firmware.load(tmp_path).power_cycle()
    Firmware.load(tmp_path).reset()
    assert (Firmware.load(tmp_path).current[MSIX], Firmware.load(tmp_path).next[MSIX]) == (8, 2)


def test_two_writers_do_not_lose_each_others_changes(tmp_path: Path) -> None:
    early = [Firmware.load(tmp_path) for _ in range(8)]
    names = ["NUM_OF_VFS", "PF_TOTAL_SF", "PF_SF_BAR_SIZE", "SRIOV_EN", "PER_PF_NUM_SF", "PF_BAR2_ENABLE", ENABLE, MSIX]
    early[7].set_next({MSIX: 4})
    writers = [
        threading.Thread(target=f.set_next, args=({name: 1},)) for f, name in zip(early, names[:7], strict=False)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [Firmware.load(tmp_path).next[name] for name in names] == [1] * 7 + [4]


def test_nothing_but_the_settings_is_left_in_the_folder(tmp_path: Path) -> None:
    Firmware.load(tmp_path).set_next({MSIX: 8})
    assert [path.name for path in stored(tmp_path).parent.iterdir()] == ["firmware.json"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        (b'{"\xff": 1}', "can't decode"),
        ("[]", 'an object with "current" and "next"'),
        ('{"current": {}}', 'an object with "current" and "next"'),
        ('{"current": 1, "next": {}}', '"current" must be an object'),
        (f'{{"current": {{}}, "next": {{"{MSIX}": "8"}}}}', "which is no integer"),
        (f'{{"current": {{}}, "next": {{"{MSIX}": true}}}}', "which is no integer"),
        (f'{{"current": {{}}, "next": {{"{MSIX}": 9999}}}}', "out of range"),
        (f'{{"current": {{}}, "next": {{"{ENABLE}": 1, "{MSIX}": 3}}}}', "too few"),
        ('{"current": {}, "next": {"NO_SUCH": 1}}', "NO_SUCH, which is no parameter"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_damaged_file_is_one_sentence_with_the_cure(tmp_path: Path, text: str | bytes, why: str) -> None:
    damage(tmp_path, text)
    with pytest.raises(FirmwareError) as refusal:
        Firmware.load(tmp_path)
    sentence = str(refusal.value)
    assert why in sentence
    assert str(stored(tmp_path)) in sentence
    assert sentence.endswith("mlxconfig -d 03:00.0 -y reset starts again from the defaults.")
    assert "\n" not in sentence


def test_reset_mends_a_damaged_file(tmp_path: Path) -> None:
    damage(tmp_path, "rubbish")
    Firmware.factory(tmp_path).reset()
    assert Firmware.load(tmp_path).next == Firmware.default


def test_a_root_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where a directory must be")
    with pytest.raises(FirmwareError, match=r"cannot be (read|written): Not a directory .*SOFTDPU_ROOT"):
        Firmware.load(tmp_path).set_next({MSIX: 8})


def test_the_file_says_only_what_was_changed(tmp_path: Path) -> None:
    Firmware.load(tmp_path).set_next({MSIX: 8})
    assert json.loads(stored(tmp_path).read_text()) == {"current": {}, "next": {MSIX: 8}}
