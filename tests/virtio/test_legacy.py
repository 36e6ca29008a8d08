"""The legacy registers of BAR0 (virtio 1.3 §4.1.4.10), and drivers from before virtio 1.0."""

import pytest

from softdpu.net.state import Layout
from softdpu.net.validation import encode
from softdpu.pci.plan import IO_BAR
from softdpu.spec import features as f
from softdpu.spec.legacy import rings
from softdpu.virtio.effects import (
    NO_VECTOR,
    AcknowledgeIsr,
    Kick,
    SetConfigVector,
    SetFilter,
    SetVector,
    StartQueue,
    StopQueue,
)
from softdpu.virtio.outcome import NOTHING
from tests.virtio.drivers import MAC, Legacy, Modern, enable_msix, make, of_type


@pytest.mark.parametrize("layout", ["transitional", "legacy"])
def test_offer_is_the_low_word(layout: Layout) -> None:
    """§4.1.4.10: only bits 0 to 31 are accessible; §6.3: ANY_LAYOUT must be offered."""
    legacy = Legacy(make(layout))
    offered = legacy.read("device_features")
    assert offered == legacy.function.device_features & 0xFFFFFFFF
    assert offered >> f.ANY_LAYOUT & 1


def test_legacy_device_offers_nothing_from_bit_32_up() -> None:
    """§2.2.3: a legacy device is known by not offering VERSION_1."""
    assert make("legacy").device_features < 1 << 32


def test_modern_device_has_no_legacy_registers() -> None:
    function = make("modern")
    assert function.write(IO_BAR, 0x12, b"\1") == NOTHING
    assert function.read(IO_BAR, 0, 24)[0] == bytes(24)
    assert function.status == 0


def test_features_not_offered_do_not_stick() -> None:
    legacy = Legacy(make())
    legacy.write("driver_features", 0xFFFFFFFF)
    assert legacy.read("driver_features") == legacy.read("device_features")


def test_features_are_final_after_driver_ok() -> None:
    legacy = Legacy(make())
    legacy.bring_up(features=0)
    assert legacy.write("driver_features", 1 << f.NET_MAC).log
    assert legacy.read("driver_features") == 0


@pytest.mark.parametrize("size", [64, 256, 1024])
def test_queue_address_is_a_page_number(size: int) -> None:
    """§4.1.5.1.3.1: the address divided by 4096; the areas lie as in §2.7.2."""
    legacy = Legacy(make(queue_size=size))
    legacy.write("device_status", 3)
    (start,) = of_type(legacy.place(0, page=0x12345), StartQueue)
    assert (start.descriptor, start.driver, start.device) == rings(0x12345, size)
    assert legacy.read("queue_address") == 0x12345
    assert start.size == legacy.read("queue_size") == size


def test_queue_size_cannot_be_changed() -> None:
    """§4.1.5.1.3.1: there was no mechanism to negotiate it."""
    legacy = Legacy(make())
    legacy.write("queue_size", 64)
    assert legacy.read("queue_size") == 256


def test_queue_is_used_before_driver_ok() -> None:
    """§3.1.2: the device must support being used before DRIVER_OK is set."""
    function = make()
    legacy = Legacy(function)
    started = [of_type(effects, StartQueue)[0] for effects in legacy.bring_up()]
    assert [(start.queue, start.role) for start in started] == [(0, "receive"), (1, "transmit"), (2, "control")]


def test_boot_firmware_sets_up_queues_first() -> None:
    """iPXE: queues, then features, then DRIVER and DRIVER_OK at once, without ACKNOWLEDGE."""
    legacy = Legacy(make())
    assert legacy.place(0) == legacy.place(1) == NOTHING
    legacy.write("driver_features", f.mask_of(f.NET_MAC, f.NET_MTU))
    starts = of_type(legacy.write("device_status", 6), StartQueue)
    assert [(start.queue, start.header, start.event_index) for start in starts] == [(0, 10, False), (1, 10, False)]
    assert legacy.read("device_status") == 6


def test_driver_that_never_writes_features() -> None:
    """§3.1.2."""
    legacy = Legacy(make())
    legacy.write("device_status", 3)
    (start,) = of_type(legacy.place(1), StartQueue)
    assert (start.header, start.mergeable, start.event_index, start.indirect) == (10, False, False, False)


def test_features_written_after_the_queues_reach_them() -> None:
    """§3.1.2: drivers use the device even before they write the feature bits."""
    legacy = Legacy(make())
    legacy.write("device_status", 3)
    legacy.place(0)
    effects = legacy.write("driver_features", f.mask_of(f.NET_MRG_RXBUF, f.EVENT_IDX))
    (start,) = of_type(effects, StartQueue)
    assert (start.header, start.mergeable, start.event_index) == (12, True, True)


def test_vlan_filter_holds_from_the_features() -> None:
    """§5.1.6.5.3."""
    legacy = Legacy(make())
    effects = legacy.write("driver_features", f.mask_of(f.NET_CTRL_VQ, f.NET_CTRL_VLAN))
    assert of_type(effects, SetFilter)[0].vlans == bytes(512)


def test_faulted_queue_starts_anew_where_it_is_placed_again() -> None:
    legacy = Legacy(make())
    legacy.bring_up()
    legacy.function.queue_fault(1, "a loop")
    assert of_type(legacy.place(1), StartQueue)[0].queue == 1


@pytest.mark.parametrize(("features", "header"), [((), 10), ((f.NET_MRG_RXBUF,), 12)])
def test_header_is_short_without_mergeable_buffers(features: tuple[int, ...], header: int) -> None:
    """§5.1.6.1: num_buffers exists only with VIRTIO_NET_F_MRG_RXBUF."""
    legacy = Legacy(make())
    (start,) = of_type(legacy.bring_up(f.mask_of(*features), queues=1)[0], StartQueue)
    assert start.header == header


def test_queue_address_zero_stops_the_queue() -> None:
    legacy = Legacy(make())
    legacy.bring_up()
    legacy.write("queue_select", 1)
    assert legacy.write("queue_address", 0).items == (StopQueue(1),)
    assert legacy.read("queue_address") == 0
    assert legacy.function.enabled_queues == 2


def test_queue_that_is_not_there() -> None:
    legacy = Legacy(make())
    legacy.bring_up()
    assert legacy.place(3) == NOTHING
    assert legacy.read("queue_size") == legacy.read("queue_address") == 0


def test_notification_that_comes_as_an_access() -> None:
    legacy = Legacy(make())
    legacy.bring_up()
    assert legacy.write("queue_notify", 1).items == (Kick(1),)
    assert legacy.write("queue_notify", 77) == NOTHING


def test_isr_reads_and_clears() -> None:
    """§4.1.4.5.1."""
    function = make()
    data, effects = function.read(IO_BAR, 0x13, 1, 1)
    assert (data, effects.items) == (b"\1", (AcknowledgeIsr(1),))


def test_wide_read_reaches_isr_too() -> None:
    function = make()
    data, effects = function.read(IO_BAR, 0x10, 4, 3)
    assert data == b"\0\0\0\3"
    assert effects.items == (AcknowledgeIsr(3),)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_configuration_by_accesses_of_any_width(size: int) -> None:
    """§4.1.4.10: the same results as with the natural width."""
    function = make()
    legacy = Legacy(function)
    whole = legacy.config(0, 16)
    assert b"".join(legacy.config(at, size) for at in range(0, 16, size)) == whole


def test_configuration_moves_by_four_when_msix_is_enabled() -> None:
    """§4.1.4.10: device configuration follows the MSI-X vectors only while MSI-X is on."""
    function = make()
    assert function.read(IO_BAR, 0x14, 6)[0] == MAC
    enable_msix(function)
    assert function.read(IO_BAR, 0x18, 6)[0] == MAC
    assert function.read(IO_BAR, 0x14, 4)[0] == b"\xff" * 4
    enable_msix(function, on=False)
    assert function.read(IO_BAR, 0x14, 6)[0] == MAC


def test_vectors_are_there_while_msix_is_enabled() -> None:
    """§4.1.4.10, §4.1.5.1.2."""
    function = make(vectors=4)
    enable_msix(function)
    legacy = Legacy(function, msix=True)
    legacy.bring_up()
    assert legacy.write("config_msix_vector", 0).items == (SetConfigVector(0),)
    legacy.write("queue_select", 1)
    assert legacy.write("queue_msix_vector", 2).items == (SetVector(1, 2),)
    assert (legacy.read("config_msix_vector"), legacy.read("queue_msix_vector")) == (0, 2)
    legacy.write("queue_msix_vector", 4)
    assert legacy.read("queue_msix_vector") == NO_VECTOR


def test_address_is_writable_by_bytes() -> None:
    """§5.1.4.3; §5.1.6.5.2.3: such drivers write from the first byte to the last."""
    function = make()
    legacy = Legacy(function)
    legacy.bring_up(features=f.mask_of(f.NET_MAC))
    new = bytes.fromhex("525400123456")
    effects = [function.write(IO_BAR, 0x14 + at, bytes([byte])) for at, byte in enumerate(new)]
    assert effects[:5] == [NOTHING] * 5
    (filters,) = of_type(effects[5], SetFilter)
    assert filters.addresses[0] == legacy.config(0, 6) == new


def test_address_is_writable_before_features_are_read() -> None:
    """§3.1.2: the device must support writes to its configuration before that."""
    function = make()
    function.write(IO_BAR, 0x14, bytes.fromhex("52540012"))
    function.write(IO_BAR, 0x18, bytes.fromhex("3456"))
    assert Legacy(function).config(0, 6) == bytes.fromhex("525400123456")


def test_address_is_not_writable_with_the_command_for_it() -> None:
    legacy = Legacy(make())
    legacy.bring_up(features=f.mask_of(f.NET_CTRL_VQ, f.NET_CTRL_MAC_ADDR))
    legacy.function.write(IO_BAR, 0x14, b"\x52" * 6)
    assert legacy.config(0, 6) == MAC


def test_nothing_else_of_the_configuration_is_writable() -> None:
    legacy = Legacy(make())
    before = legacy.config(0, 20)
    legacy.function.write(IO_BAR, 0x14 + 6, b"\xff" * 14)
    assert legacy.config(0, 20) == before


def test_address_returns_to_the_operators_on_reset() -> None:
    legacy = Legacy(make())
    legacy.function.write(IO_BAR, 0x14, bytes.fromhex("525400123456"))
    legacy.write("device_status", 0)
    assert legacy.config(0, 6) == MAC


def test_fault_stops_the_queue_and_says_so() -> None:
    """A legacy driver has no NEEDS_RESET."""
    function = make()
    legacy = Legacy(function)
    legacy.bring_up()
    effects = function.queue_fault(0, "a loop of descriptors")
    assert effects.items == ()
    assert effects.log[0].text == "queue 0: a loop of descriptors"
    assert legacy.read("device_status") == 7
    assert [start.queue for start in of_type(function.start_effects(), StartQueue)] == [1, 2]


def test_one_device_for_both_drivers_in_turn() -> None:
    """§2.2.3: the device is what its driver makes of it; a reset returns it to neither."""
    function = make()
    legacy, modern = Legacy(function), Modern(function)
    assert function.transitional_mode is None
    for _ in range(2):
        legacy.bring_up()
        assert function.transitional_mode == "legacy"
        legacy.write("device_status", 0)
        assert function.transitional_mode is None
        modern.bring_up()
        assert function.transitional_mode == "modern"
        modern.write("device_status", 0)


def test_writes_through_the_other_interface_do_nothing() -> None:
    function = make()
    legacy, modern = Legacy(function), Modern(function)
    legacy.bring_up()
    legacy.place(1, page=0)
    before = encode(function.state)
    writes = {"device_status": 15, "driver_feature": 1, "queue_desc": 0x5000, "queue_size": 64, "queue_enable": 1}
    assert [modern.write(name, value).items for name, value in writes.items()] == [()] * 5
    assert encode(function.state) == before


def test_modern_driver_is_not_disturbed_by_legacy_writes() -> None:
    function = make()
    legacy, modern = Legacy(function), Modern(function)
    modern.bring_up()
    for name, value in (("device_status", 1), ("driver_features", 1), ("queue_address", 0)):
        assert legacy.write(name, value).items == ()
    assert function.write(IO_BAR, 0x14, b"\x52" * 6) == NOTHING
    assert (function.status, function.enabled_queues, modern.config(0, 6)) == (15, 3, MAC)


def test_multiqueue_without_control_queue_does_not_hold() -> None:
    """§5.1.3.1: MQ requires CTRL_VQ, and a legacy driver cannot be refused."""
    legacy = Legacy(make(queues=9))
    legacy.write("driver_features", f.mask_of(f.NET_MQ))
    legacy.write("queue_select", 3)
    assert legacy.read("queue_size") == 0
