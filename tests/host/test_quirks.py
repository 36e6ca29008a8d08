"""The table of traps: which versions each row covers."""

import msgspec
import pytest

from softdpu.host import quirks
from softdpu.host.quirks import QUIRKS, Quirk, Version, quirk


@pytest.mark.parametrize("version", [(10, 1, 0), (10, 2, 1), (11, 1, 3)])
def test_every_qemu_with_vfio_user_so_far_aborts_on_unplug_with_msix(version: Version) -> None:
    assert quirk("unplug with MSI-X aborts", version)


def test_version_without_vfio_user_has_no_trap() -> None:
    assert quirk("unplug with MSI-X aborts", (10, 0, 9)) is None


def test_fixed_version_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(msgspec.structs.replace(row, fixed=(12, 0, 0)) for row in QUIRKS)
    monkeypatch.setattr(quirks, "QUIRKS", rows)
    assert quirk("migration loses the device", (11, 99, 0))
    assert quirk("migration loses the device", (12, 0, 0)) is None


@pytest.mark.parametrize("row", QUIRKS, ids=lambda row: row.trap)
def test_every_row_has_a_reason_and_a_cure(row: Quirk) -> None:
    assert len(row.reason) > 20
    assert row.cure.endswith(".")
