"""The arithmetic of I/O windows: each rule as it was seen on a host, or as the bridge specification states it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softdpu.pci.windows import (
    BAR,
    ISA_ALIAS,
    MOST_WINDOWS,
    PLACES_A_WINDOW,
    WINDOW,
    Bridge,
    Budget,
    NoIoWindow,
    Range,
    budget,
    foresee,
    free_places,
    more_may_come,
    places,
)

CONVENTIONAL = tuple(range(1, 32))


def port(number: int, *, taken: bool = False) -> Bridge:
    base = WINDOW * (number + 1)
    claimed = (Range(base, BAR),) if taken else ()
    return Bridge(f"rp{number}", "port", base, base + WINDOW - 1, (0,), (0,) * taken, claimed)


def conventional(devices: int) -> Bridge:
    addresses = places(0x2000, 0x2FFF)[:devices]
    claimed = tuple(Range(address, BAR) for address in addresses)
    return Bridge("cb", "conventional", 0x2000, 0x2FFF, CONVENTIONAL, tuple(range(1, devices + 1)), claimed)


def test_window_holds_sixteen_places_because_of_isa_aliases() -> None:
    """The first 256 bytes of each KiB, in BARs of 64 bytes: 4 x 4."""
    found = places(0x1000, 0x1FFF)
    assert len(found) == PLACES_A_WINDOW
    assert found[:5] == (0x1000, 0x1040, 0x1080, 0x10C0, 0x1400)


def test_smaller_bar_would_double_the_places() -> None:
    assert len(places(0x1000, 0x1FFF, 32)) == 2 * PLACES_A_WINDOW


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_every_place_is_aligned_inside_and_no_alias(base: int, limit: int) -> None:
    for address in places(base, limit):
        assert address % BAR == 0
        assert base <= address <= address + BAR - 1 <= limit
        assert address & ISA_ALIAS == 0


def test_sixteen_of_twenty_two_fit_behind_one_conventional_bridge() -> None:
    """Measured: the 17th device behind a pcie-pci-bridge gets "BAR 0 [io size 0x0040]: can't assign; no space"."""
    fitted = next(n for n in range(22) if budget([conventional(n)]).free == 0)
    assert fitted == PLACES_A_WINDOW


def test_port_has_one_place_however_wide_its_window() -> None:
    """Hot plug uses one device a port, though the window behind it would hold 16."""
    share = budget([port(0)]).shares[0]
    assert (share.allocated, share.places, share.used, share.free) == (WINDOW, 1, 0, 1)


def test_taken_port_has_none_left() -> None:
    share = budget([port(0, taken=True)]).shares[0]
    assert (share.places, share.used, share.free, share.reason) == (1, 1, 0, "its slot is taken")


def test_documented_formula_counts_the_windows() -> None:
    """(allocated I/O space - 4K)/4K devices, one a bridge."""
    found = budget([port(n) for n in range(14)])
    assert found.allocated == 15 * WINDOW
    assert found.windows == found.places == (found.allocated - WINDOW) // WINDOW == 14


def test_conventional_bridges_beat_one_device_a_bridge() -> None:
    """14 windows of 16 places are 224."""
    bridges = [
        Bridge(f"cb{n}", "conventional", WINDOW * (n + 1), WINDOW * (n + 2) - 1, CONVENTIONAL) for n in range(14)
    ]
    assert budget(bridges).places == 224


@pytest.mark.parametrize(("base", "limit"), [(0xF000, 0x0FFF), (0, 0x0FFF), (0, 0)])
def test_closed_or_cleared_window_has_no_place(base: int, limit: int) -> None:
    """PCI-to-PCI Bridge 1.2 §3.2.5.6: base above limit closes a window; zeroes are a bridge nobody has set up."""
    bridge = Bridge("rp0", "port", base, limit, (0,))
    assert budget([bridge]).free == 0
    assert budget([bridge]).shares[0].reason == "it has no I/O window"


def test_inner_bridge_takes_its_window_from_the_outer_one() -> None:
    """A pcie-pci-bridge behind a root port: one window of 4 KiB, counted once."""
    outer = Bridge("rp0", "port", 0x2000, 0x2FFF, (0,), (0,), (Range(0x2000, WINDOW),))
    found = budget([outer, conventional(0)])
    assert found.windows == 1
    assert (found.places, found.free) == (16, 16)


def test_wide_bar_of_another_device_costs_every_place_that_it_covers() -> None:
    bridge = Bridge("cb", "conventional", 0x2000, 0x2FFF, CONVENTIONAL, (1,), (Range(0x2000, 256),))
    assert free_places(bridge) == 12


def test_device_without_an_address_yet_keeps_its_place() -> None:
    """Between device_add and the guest's assignment, the next device must not count on the same place."""
    bridge = Bridge("cb", "conventional", 0x2000, 0x2FFF, CONVENTIONAL, (1, 2), waiting=2)
    share = budget([bridge]).shares[0]
    assert (share.used, share.free, share.places) == (2, 14, 16)


def test_slots_bound_the_root_bus_where_ports_do_not() -> None:
    """i440fx: 60 KiB of ports behind the root bus, 31 slots."""
    root = Bridge("pci.0", "root", 0x1000, 0xFFFF, tuple(range(32)), (0, 1, 2))
    share = budget([root]).shares[0]
    assert share.free == 29


def test_before_firmware_ran_fourteen_ports_will_get_windows() -> None:
    """Measured with 16 ports under Linux 6.12: the first two went without."""
    bridges = [Bridge(f"rp{n}", "port", 0xF000, 0xFFF, (0,)) for n in range(16)]
    found = budget(foresee(bridges))
    assert found.free == MOST_WINDOWS
    assert [share.free for share in found.shares[:3]] == [0, 0, 1]


def test_port_that_reserves_no_io_is_not_foreseen_any() -> None:
    """A pcie-root-port with io-reserve=0 decodes no I/O, before and after the firmware."""
    bridges = [Bridge("rp0", "port", 0xF000, 0xFFF, (0,), never=True)]
    assert budget(foresee(bridges)).shares[0].reason == "it was started with io-reserve=0"


def test_after_firmware_ran_nothing_is_foreseen() -> None:
    bridges = [port(0), Bridge("rp1", "port", 0xF000, 0xFFF, (0,))]
    assert foresee(bridges) == tuple(bridges)


def test_window_may_still_come_to_an_empty_port_while_the_host_boots() -> None:
    """SeaBIOS gives I/O to bridges with devices only; Linux then gives each empty hot-plug port a window."""
    closed = Bridge("rp9", "port", 0xF000, 0xFFF, (0,))
    assert more_may_come([port(0), closed])
    assert not more_may_come([port(0)])
    assert not more_may_come([*(port(n) for n in range(MOST_WINDOWS)), closed])
    assert not more_may_come([msgspec.structs.replace(closed, never=True)])
    assert not more_may_come([msgspec.structs.replace(closed, taken=(0,))])


def test_refusal_shows_the_sum_and_the_cure() -> None:
    refusal = str(NoIoWindow("vm1", budget([port(0, taken=True), port(1, taken=True)])))
    assert "(12288 - 4096)/4096 = 2 windows" in refusal
    assert "2 used, 0 free" in refusal
    assert "rp0: its slot is taken" in refusal
    assert "without -l" in refusal


def test_refusal_of_a_host_without_bridges_is_a_sentence_too() -> None:
    assert "it has no bridge" in str(NoIoWindow("vm1", Budget(())))
