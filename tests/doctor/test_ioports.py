"""/proc/ioports: nesting, root buses, and the manual's sum."""

import pytest

from softdpu.doctor.ioports import Hidden, parse, spaces
from tests.doctor.conftest import IOPORTS


def test_ranges_nest_as_they_are_indented() -> None:
    _, _, bus, _ = parse(IOPORTS)
    assert [part.name for part in bus.inside] == ["PCI Bus 0000:01", "PCI Bus 0000:02"]
    assert [part.name for part in bus.everything()][2] == "virtio-pci-legacy"


def test_a_bus_has_all_its_ranges_and_the_sum_of_the_manual() -> None:
    first, second = spaces(parse(IOPORTS))
    assert (first.bus, first.allocated, first.taken) == ("0000:00", 0xCF8 + 0x2300, 2)
    assert (second.bus, second.allocated, second.fit) == ("0000:16", 0x5000, 4)


def test_addresses_hidden_from_users_are_no_addresses() -> None:
    with pytest.raises(Hidden, match="as root"):
        parse("0000-0000 : PCI Bus 0000:00\n  0000-0000 : dma1\n")


def test_a_machine_without_ports_has_no_buses() -> None:
    assert spaces(parse("")) == ()
