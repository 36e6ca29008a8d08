"""The parameter table: what each accepts, how it is spelled, what it says when it refuses."""

import pytest

from softdpu.firmware.parameters import PARAMETERS, TABLE, FirmwareError, Parameter, find

LAYOUT = PARAMETERS["VIRTIO_NET_EMULATION_PF_PCI_LAYOUT"]
ENABLE = PARAMETERS["VIRTIO_NET_EMULATION_ENABLE"]
MSIX = PARAMETERS["VIRTIO_NET_EMULATION_NUM_MSIX"]


@pytest.mark.parametrize("parameter", TABLE, ids=[parameter.name for parameter in TABLE])
def test_every_default_is_accepted_and_reads_back_as_it_is_shown(parameter: Parameter) -> None:
    assert parameter.parse(parameter.show(parameter.default)) == parameter.default


def test_documented_defaults() -> None:
    shown = {name: parameter.show(parameter.default) for name, parameter in PARAMETERS.items()}
    assert shown["VIRTIO_NET_EMULATION_ENABLE"] == "False(0)"
    assert shown["VIRTIO_NET_EMULATION_NUM_MSIX"] == "2"
    assert shown["VIRTIO_NET_EMULATION_PF_PCI_LAYOUT"] == "VIRTIO_1_X(0)"
    assert shown["PCI_SWITCH_EMULATION_NUM_PORT"] == "0"


@pytest.mark.parametrize("text", ["1", "True", "TRUE", "true", "True(1)", "0x1"])
def test_spellings_of_true(text: str) -> None:
    assert ENABLE.parse(text) == 1


@pytest.mark.parametrize("text", ["0", "VIRTIO_1_X", "virtio_1_x(0)"])
def test_spellings_of_a_label(text: str) -> None:
    assert LAYOUT.parse(text) == 0


@pytest.mark.parametrize("text", ["", "-1", "1_0", "1e3", "٣", "0x", "0x1_0", "yes", "9" * 30])
def test_what_is_no_number_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(FirmwareError, match=r"it must be 2\.\.2048"):
        MSIX.parse(text)


@pytest.mark.parametrize("text", ["1", "2049", "0"])
def test_out_of_range_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(FirmwareError, match=rf"NUM_MSIX={text} is out of range: it must be 2\.\.2048"):
        MSIX.parse(text)


def test_a_mistyped_label_gets_the_nearest() -> None:
    with pytest.raises(FirmwareError, match=r"did you mean VIRTIO_TRANSITIONAL\?"):
        LAYOUT.parse("TRANSITIONAL")


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(FirmwareError, match=r"no parameter VIRTIO_NET_EMULATON_NUM_PF; did you mean VIRTIO_NET_EMUL"):
        find("VIRTIO_NET_EMULATON_NUM_PF")


def test_a_name_far_from_all_gets_the_way_to_the_list() -> None:
    with pytest.raises(FirmwareError, match=r"there is no parameter X; mlxconfig -d <device> q lists them all"):
        find("X")
