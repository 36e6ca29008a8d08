"""What must hold between parameters, and what follows from them."""

import pytest

from softdpu.firmware import rules
from softdpu.firmware.parameters import DEFAULTS, FirmwareError


def settings(**short: int) -> dict[str, int]:
    """The defaults with some changed, by their names without the long prefix."""
    return DEFAULTS | {name if name in DEFAULTS else f"VIRTIO_NET_EMULATION_{name}": short[name] for name in short}


def test_the_defaults_hold() -> None:
    rules.check(DEFAULTS, ())


def test_emulation_needs_four_vectors() -> None:
    with pytest.raises(FirmwareError, match=r"NUM_MSIX=2 is too few while .*_ENABLE=1.*NUM_MSIX=4 or more together"):
        rules.check(settings(ENABLE=1), {"VIRTIO_NET_EMULATION_NUM_MSIX"})
    rules.check(settings(ENABLE=1, NUM_MSIX=4), {"VIRTIO_NET_EMULATION_NUM_MSIX"})


def test_a_default_that_nobody_set_does_not_keep_emulation_off() -> None:
    rules.check(settings(ENABLE=1), {"VIRTIO_NET_EMULATION_ENABLE"})


def test_vfs_of_all_pfs_together_are_bounded() -> None:
    rules.check(settings(NUM_PF=4, NUM_VF=126), ())
    with pytest.raises(FirmwareError, match=r"makes 508 VFs; at most 504 .* to 126 or fewer"):
        rules.check(settings(NUM_PF=4, NUM_VF=127), ())


@pytest.mark.parametrize(("enabled", "ports", "places"), [(0, 16, 0), (1, 0, 0), (1, 1, 0), (1, 16, 15), (1, 32, 31)])
def test_one_port_of_the_switch_is_its_own(enabled: int, ports: int, places: int) -> None:
    values = settings(PCI_SWITCH_EMULATION_ENABLE=enabled, PCI_SWITCH_EMULATION_NUM_PORT=ports)
    assert rules.hotplug_places(values) == places


def test_vfs_have_the_vectors_of_a_pf_unless_told() -> None:
    assert rules.vf_vectors(settings(NUM_MSIX=8)) == 8
    assert rules.vf_vectors(settings(NUM_MSIX=8, NUM_VF_MSIX=6)) == 6


def test_a_shortage_of_scalable_functions_is_said_with_the_number_that_is_enough() -> None:
    values = settings(ENABLE=1, NUM_MSIX=4, NUM_PF=2, NUM_VF=3, SRIOV_EN=1, PF_TOTAL_SF=7)
    assert "PF_TOTAL_SF=8." in (rules.scalable_function_shortage(values) or "")
    assert rules.scalable_function_shortage(values | {"PF_TOTAL_SF": 8}) is None


def test_without_sriov_en_there_are_no_vfs() -> None:
    values = settings(NUM_PF=2, NUM_VF=3)
    assert (rules.vfs(values), rules.functions(values)) == (0, 2)
    assert (rules.vfs(values | {"SRIOV_EN": 1}), rules.functions(values | {"SRIOV_EN": 1})) == (3, 8)


@pytest.mark.parametrize(
    ("changes", "lm_prov", "said"),
    [
        ({}, False, []),
        ({"NUM_PF": 1, "NUM_VF": 4}, False, ["but SRIOV_EN=0"]),
        ({"NUM_PF": 1, "NUM_VF": 4, "SRIOV_EN": 1}, False, []),
        ({"NUM_PF": 1, "NUM_VF": 4, "SRIOV_EN": 1}, True, []),
        ({"NUM_PF": 1, "NUM_VF": 4, "SRIOV_EN": 1, "VF_PCI_LAYOUT": 1}, True, []),
        ({"NUM_PF": 1, "NUM_VF": 4, "SRIOV_EN": 1, "VF_PCI_LAYOUT": 1}, False, ['until "lm_prov": "kernel"']),
        ({"NUM_PF": 1, "NUM_VF": 4}, True, ["but SRIOV_EN=0", "allows no VFs"]),
        ({"VF_PCI_LAYOUT": 1}, False, []),
    ],
)
def test_settings_of_vfs_that_others_make_void_are_named(
    changes: dict[str, int], lm_prov: bool, said: list[str]
) -> None:
    sentences = list(rules.contradictions(settings(**changes), lm_prov))
    assert len(sentences) == len(said)
    assert all(part in sentence for part, sentence in zip(said, sentences, strict=True))
