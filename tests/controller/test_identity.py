"""Ids, VUIDs, addresses: unique, stable, and never taken from a text that is none."""

from pathlib import Path

import pytest

from softdpu.controller import identity
from softdpu.controller.identity import Bdf
from softdpu.controller.root import LONGEST_VUID


def test_vuids_are_those_of_the_product() -> None:
    assert identity.static_vuid("MT2151X03152", 0) == "MT2151X03152VNETS0D0F2"
    assert identity.hotplug_vuid("MT2151X03152", 0) == "MT2151X03152VNETS1D0F0"


def test_no_two_devices_share_a_vuid_or_an_address() -> None:
    vuids = [identity.static_vuid("X", n) for n in range(31)] + [identity.hotplug_vuid("X", n) for n in range(31)]
    places = [identity.static_bdf(n) for n in range(31)] + [identity.hotplug_bdf(n) for n in range(31)]
    assert len(set(vuids)) == len(set(places)) == 62
    assert all(bdf.bus < 256 and bdf.device < 32 and bdf.function < 8 for bdf in places)


def test_serial_is_the_same_by_whichever_name_a_root_is_called(tmp_path: Path) -> None:
    (tmp_path / "dpu").mkdir()
    (tmp_path / "link").symlink_to("dpu")
    assert identity.board(tmp_path / "link") == identity.board(tmp_path / "dpu") != identity.board(tmp_path)


@pytest.mark.parametrize("slot", [0, 1, 30])
def test_slot_is_read_back_from_a_vuid(slot: int) -> None:
    assert identity.hotplug_slot(identity.hotplug_vuid("MT2447X00001", slot)) == slot


@pytest.mark.parametrize(
    "text", ["", "MT1VNETS0D0F2", "MT1VNETS1D1F0", "../VNETS1D0F0", "MT1VNETS1D0F0\n", "VNETS1D0F0"]
)
def test_what_is_no_vuid_of_a_hotplug_pf(text: str) -> None:
    with pytest.raises(ValueError, match="is not the VUID of a hotplug PF"):
        identity.hotplug_slot(text)


def test_longest_vuid_is_a_vuid() -> None:
    assert identity.is_vuid(LONGEST_VUID)


@pytest.mark.parametrize("text", ["01:00.0", "0000:01:00.0"])
def test_an_address_is_read_with_and_without_its_domain(text: str) -> None:
    assert Bdf.parse(text) == Bdf(1, 0, 0)


def test_an_address_is_its_routing_id_and_back() -> None:
    assert Bdf.from_raw(57611) == Bdf(0xE1, 1, 3)
    assert Bdf.from_raw(57611).raw == 57611
    assert str(Bdf(0x14, 0, 2)) == "14:00.2"


def test_lowest_free_number_fills_the_gap() -> None:
    assert identity.lowest_free([2000, 2001, 2003], 2000) == 2002
    assert identity.lowest_free([]) == 0


def test_mac_of_a_series_is_base_plus_number() -> None:
    assert identity.mac_from(bytes.fromhex("0cc47affffff"), 1) == bytes.fromhex("0cc47b000000")


def test_a_mac_that_nobody_gave_is_local_and_stays() -> None:
    mac = identity.mac_of("MT1VNETS0D0F2")
    assert mac == identity.mac_of("MT1VNETS0D0F2") != identity.mac_of("MT1VNETS0D0F3")
    assert mac[0] == 2


def test_representor_names_fit_an_interface() -> None:
    assert identity.representor_name(0, 2000) == "en3f0pf0sf2000"
    assert len(identity.representor_name(1, 65535)) <= 15
