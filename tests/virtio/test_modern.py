"""The common configuration structure, register by register (virtio 1.3 §4.1.4.3)."""

import pytest

from softdpu.pci.plan import MODERN_BAR
from softdpu.spec import features as f
from softdpu.spec import virtio_pci as v
from softdpu.virtio.effects import (
    NO_VECTOR,
    AcknowledgeIsr,
    Kick,
    RaiseConfig,
    SetConfigVector,
    SetFilter,
    SetVector,
    StartQueue,
    StopQueue,
)
from softdpu.virtio.outcome import NOTHING
from tests.virtio.drivers import AREAS, Modern, enable_msix, make, of_type

ALL_BUT_RESET = make().device_features & ~f.mask_of(f.RING_RESET, f.ANY_LAYOUT)


@pytest.mark.parametrize("select", [2, 3, 7, 0x80000000, 0xFFFFFFFF])
def test_feature_words_beyond_the_offer_read_zero(select: int) -> None:
    """§4.1.4.3.1: whatever device_feature_select the driver writes."""
    modern = Modern(make())
    modern.write("device_feature_select", select)
    assert modern.read("device_feature_select") == select
    assert modern.read("device_feature") == 0


@pytest.mark.parametrize("select", [4, 0xFFFFFFFF])
def test_driver_feature_words_beyond_those_kept_ignore_writes(select: int) -> None:
    function = make()
    modern = Modern(function)
    modern.write("driver_feature_select", select)
    modern.write("driver_feature", 0xFFFFFFFF)
    assert modern.read("driver_feature") == 0
    assert function.driver_features == 0


def test_driver_feature_mirrors_the_selected_word() -> None:
    modern = Modern(make())
    modern.accept(0x1_0000_0020)
    modern.write("driver_feature_select", 0)
    assert modern.read("driver_feature") == 0x20
    modern.write("driver_feature_select", 1)
    assert modern.read("driver_feature") == 1


def test_legacy_only_bits_are_not_shown() -> None:
    """§6.3: ANY_LAYOUT is a matter of the legacy interface."""
    assert not Modern(make()).offered() >> f.ANY_LAYOUT & 1


@pytest.mark.parametrize("queues", [2, 3, 5, 65])
def test_num_queues(queues: int) -> None:
    assert Modern(make(queues=queues)).read("num_queues") == queues


@pytest.mark.parametrize("vector", [0, 3])
def test_config_vector_reads_back(vector: int) -> None:
    """§4.1.5.1.2.1."""
    modern = Modern(make(vectors=4))
    assert modern.read("config_msix_vector") == NO_VECTOR
    assert modern.write("config_msix_vector", vector).items == (SetConfigVector(vector),)
    assert modern.read("config_msix_vector") == vector


@pytest.mark.parametrize(("vectors", "vector"), [(4, 4), (4, 0x7FF), (4, 0xFFFF), (0, 0)])
def test_vector_that_is_not_there_reads_back_as_no_vector(vectors: int, vector: int) -> None:
    """§4.1.5.1.2.1: a mapping failure is reported by NO_VECTOR."""
    modern = Modern(make(vectors=vectors))
    modern.write("config_msix_vector", vector)
    modern.write("queue_msix_vector", vector)
    assert modern.read("config_msix_vector") == modern.read("queue_msix_vector") == NO_VECTOR


def test_vector_of_a_running_queue_is_told() -> None:
    modern = Modern(make())
    modern.bring_up()
    modern.write("queue_select", 1)
    assert modern.write("queue_msix_vector", 2).items == (SetVector(1, 2),)


def test_vector_set_before_the_start_goes_with_it() -> None:
    modern = Modern(make())
    modern.negotiate()
    modern.write("queue_select", 0)
    assert modern.write("queue_msix_vector", 3) == NOTHING
    modern.set_up(0)
    (start,) = of_type(modern.write("device_status", 15), StartQueue)
    assert start.vector == 3


def test_config_generation_moves_when_a_changed_configuration_is_read() -> None:
    """§4.1.4.3.1."""
    function = make()
    modern = Modern(function)
    before = modern.read("config_generation")
    function.set_link(False)
    assert modern.read("config_generation") == before
    modern.config(6, 2)
    assert modern.read("config_generation") == before + 1
    modern.config(6, 2)
    assert modern.read("config_generation") == before + 1


def test_config_generation_wraps() -> None:
    function = make()
    for change in range(256):
        function.set_link(bool(change % 2))
        Modern(function).config(0, 1)
    assert Modern(function).read("config_generation") == 0


@pytest.mark.parametrize("queue", [3, 100, 0xFFFF])
def test_queue_that_is_not_there(queue: int) -> None:
    """§4.1.4.3.1: 0 in queue_size if the virtqueue is unavailable."""
    modern = Modern(make())
    modern.negotiate()
    modern.set_up(queue)
    assert modern.read("queue_select") == queue
    names = ("queue_size", "queue_enable", "queue_notify_off", "queue_desc", "queue_driver", "queue_device")
    assert [modern.read(name) for name in names] == [0] * 6
    assert modern.read("queue_msix_vector") == NO_VECTOR


@pytest.mark.parametrize("size", [1, 2, 64, 256])
def test_queue_size_can_be_made_smaller(size: int) -> None:
    modern = Modern(make(queue_size=256))
    assert modern.read("queue_size") == 256
    modern.write("queue_size", size)
    assert modern.read("queue_size") == size


@pytest.mark.parametrize("size", [0, 3, 255, 512, 0xFFFF])
def test_queue_size_that_cannot_be_is_ignored(size: int) -> None:
    """§4.1.4.3.2: a power of two; and not above what the device can."""
    modern = Modern(make(queue_size=256))
    assert modern.write("queue_size", size).log
    assert modern.read("queue_size") == 256


def test_queue_notify_off_is_the_index() -> None:
    """§4.1.4.4: with the multiplier 4, each queue has its own dword."""
    modern = Modern(make())
    modern.write("queue_select", 2)
    assert modern.read("queue_notify_off") == 2


@pytest.mark.parametrize("name", ["queue_desc", "queue_driver", "queue_device"])
def test_queue_addresses_in_halves(name: str) -> None:
    """§4.1.3.2: independent access to the high and the low 32 bits."""
    modern = Modern(make())
    offset = v.COMMON.offset(name)
    modern.function.write(MODERN_BAR, offset + 4, bytes.fromhex("01000000"))
    modern.function.write(MODERN_BAR, offset, bytes.fromhex("00200000"))
    assert modern.read(name) == 0x1_0000_2000
    assert modern.function.read(MODERN_BAR, offset + 4, 4)[0] == b"\1\0\0\0"


def test_queues_start_with_driver_ok() -> None:
    """§3.1.1, §2.1.2: no buffer is consumed before DRIVER_OK."""
    modern = Modern(make())
    modern.negotiate()
    assert modern.set_up(0) == NOTHING
    modern.set_up(2, size=64)
    starts = of_type(modern.write("device_status", 15), StartQueue)
    assert [(start.queue, start.role, start.size) for start in starts] == [(0, "receive", 256), (2, "control", 64)]
    assert (starts[0].descriptor, starts[0].driver, starts[0].device) == tuple(AREAS.values())
    assert starts[0].position == 0


def test_packed_queues_have_any_size_and_start_with_their_wrap_counters_set() -> None:
    """§2.8.10.1: the size need not be a power of two; §2.8.1: a new ring's wrap counters are 1."""
    modern = Modern(make(features=f.mask_of(f.RING_PACKED)))
    modern.negotiate()
    modern.set_up(0, size=100)
    (start,) = of_type(modern.write("device_status", 15), StartQueue)
    assert (start.size, start.packed, start.in_order, start.position) == (100, True, True, 0x8000)


def test_a_split_queue_whose_size_was_set_before_the_layout_was_known() -> None:
    """A power of two is all that can be said before FEATURES_OK."""
    modern = Modern(make(features=f.mask_of(f.RING_PACKED)))
    modern.write("device_status", 3)
    assert modern.write("queue_size", 100).log
    assert modern.read("queue_size") == 256


def test_running_queues_are_not_started_again_by_a_status_write() -> None:
    modern = Modern(make())
    modern.bring_up()
    assert modern.write("device_status", 15) == NOTHING
    assert modern.write("device_status", 15 | v.FAILED) == NOTHING


def test_header_has_twelve_bytes_whatever_is_negotiated() -> None:
    """§5.1.6: only the legacy interface has a header without num_buffers."""
    effects = Modern(make()).bring_up(f.mask_of(f.VERSION_1))
    assert {(start.header, start.mergeable) for start in of_type(effects, StartQueue)} == {(12, False)}


@pytest.mark.parametrize(("features", "vlans"), [((f.NET_CTRL_VQ, f.NET_CTRL_VLAN), bytes(512)), ((), None)])
def test_vlan_filter_holds_from_features_ok(features: tuple[int, ...], vlans: bytes | None) -> None:
    """§5.1.6.5.3: it starts empty where it is negotiated."""
    (filters,) = of_type(Modern(make()).negotiate(f.mask_of(f.VERSION_1, *features)), SetFilter)
    assert filters.vlans == vlans


def test_wide_read_reaches_isr_too() -> None:
    function = make()
    data, effects = function.read(MODERN_BAR, 0xFFE, 4, 1)
    assert (data, effects.items) == (b"\0\0\1\0", (AcknowledgeIsr(1),))


def test_queue_enabled_later_starts_at_once() -> None:
    modern = Modern(make())
    modern.bring_up(queues=2)
    (start,) = of_type(modern.set_up(2), StartQueue)
    assert start.queue == 2


def test_enabled_queue_is_fixed() -> None:
    modern = Modern(make())
    modern.bring_up()
    modern.write("queue_select", 0)
    modern.write("queue_desc", 0x999000)
    modern.write("queue_size", 128)
    assert (modern.read("queue_desc"), modern.read("queue_size")) == (AREAS["queue_desc"], 256)
    assert modern.write("queue_enable", 1) == NOTHING


@pytest.mark.parametrize("status", [0, 1, 3])
def test_queue_enabled_before_features_ok_needs_reset(status: int) -> None:
    modern = Modern(make())
    modern.write("device_status", status)
    modern.set_up(0)
    assert modern.read("queue_enable") == 0
    assert modern.read("device_status") & v.NEEDS_RESET


def test_queue_enabled_without_addresses_needs_reset() -> None:
    modern = Modern(make())
    modern.negotiate()
    modern.write("queue_enable", 1)
    assert modern.read("queue_enable") == 0
    assert modern.read("device_status") == 11 | v.NEEDS_RESET
    assert modern.function.faults == ("queue 0 enabled, but the driver gave it no addresses",)


@pytest.mark.parametrize("value", [0, 2, 0xFFFF])
def test_writes_of_anything_but_one_to_queue_enable_do_nothing(value: int) -> None:
    """§4.1.4.3.2: the driver must not write 0."""
    modern = Modern(make())
    modern.bring_up()
    modern.write("queue_select", 0)
    assert modern.write("queue_enable", value).items == ()
    assert modern.read("queue_enable") == 1


def test_queue_reset() -> None:
    """§2.6.1.1: the queue stops and returns to its defaults; both registers read 0 when that is done."""
    modern = Modern(make())
    modern.bring_up()
    modern.write("queue_select", 1)
    modern.write("queue_msix_vector", 1)
    assert modern.write("queue_reset", 1).items == (StopQueue(1),)
    assert modern.read("queue_reset") == modern.read("queue_enable") == modern.read("queue_desc") == 0
    assert modern.read("queue_msix_vector") == NO_VECTOR
    assert modern.read("queue_size") == 256


def test_queue_is_enabled_again_after_its_reset() -> None:
    """§2.6.1.2: with the parameters that the driver gives it now."""
    modern = Modern(make())
    modern.bring_up()
    modern.write("queue_select", 1)
    modern.write("queue_reset", 1)
    (start,) = of_type(modern.set_up(1, size=128), StartQueue)
    assert (start.queue, start.size) == (1, 128)


def test_queue_reset_that_was_not_negotiated_does_nothing() -> None:
    modern = Modern(make())
    modern.bring_up(ALL_BUT_RESET)
    modern.write("queue_select", 1)
    assert modern.write("queue_reset", 1) == NOTHING
    assert modern.read("queue_enable") == 1


@pytest.mark.parametrize("name", ["queue_notif_config_data", "admin_queue_index", "admin_queue_num"])
def test_registers_of_features_that_are_not_offered_read_zero(name: str) -> None:
    assert Modern(make()).read(name) == 0


@pytest.mark.parametrize("name", ["device_feature", "num_queues", "config_generation", "queue_notify_off"])
def test_read_only_registers(name: str) -> None:
    modern = Modern(make())
    before = modern.read(name)
    modern.write(name, before ^ 1)
    assert modern.read(name) == before


def test_isr_reads_and_clears() -> None:
    """§4.1.4.5.1: reset to 0 on driver read."""
    function = make()
    data, effects = function.read(MODERN_BAR, 0x1000, 4, 3)
    assert data == b"\3\0\0\0"
    assert effects.items == (AcknowledgeIsr(3),)
    assert function.read(MODERN_BAR, 0x1000, 1, 0) == (b"\0", NOTHING)


@pytest.mark.parametrize(("offset", "size", "queues"), [(0x3000, 2, [0]), (0x3004, 4, [1]), (0x3000, 8, [0, 1])])
def test_notifications_that_come_as_accesses(offset: int, size: int, queues: list[int]) -> None:
    """§4.1.5.2."""
    modern = Modern(make())
    modern.bring_up()
    effects = modern.function.write(MODERN_BAR, offset, bytes(size))
    assert effects.items == tuple(Kick(queue) for queue in queues)


def test_notification_of_a_queue_that_does_not_run_means_nothing() -> None:
    """§3.1.1: the driver must not notify before DRIVER_OK."""
    modern = Modern(make())
    modern.negotiate()
    modern.set_up(0)
    assert modern.function.write(MODERN_BAR, 0x3000, b"\0\0") == NOTHING


def test_device_configuration_is_read_only() -> None:
    """§5.1.4.2: a modern driver must not write to it."""
    modern = Modern(make())
    before = modern.config(0, 20)
    assert modern.function.write(MODERN_BAR, 0x2000, b"\xff" * 20) == NOTHING
    assert modern.config(0, 20) == before


def test_reset_unmaps_vectors_and_disables_queues() -> None:
    """§4.1.5.1.2.1: all events are unmapped upon reset."""
    modern = Modern(make())
    modern.bring_up()
    modern.write("config_msix_vector", 1)
    enable_msix(modern.function)
    modern.write("device_status", 0)
    assert modern.read("config_msix_vector") == NO_VECTOR
    modern.write("queue_select", 0)
    assert modern.read("queue_enable") == modern.read("queue_desc") == 0
    modern.write("driver_feature_select", 0)
    assert modern.read("driver_feature") == 0


def test_faulted_queue_stays_stopped_and_the_others_go_on() -> None:
    """§2.1.2: NEEDS_RESET, and a configuration interrupt."""
    function = make()
    modern = Modern(function)
    modern.bring_up()
    effects = function.queue_fault(1, "a descriptor points outside the guest's memory")
    assert effects.items == (RaiseConfig(),)
    assert modern.read("device_status") == 15 | v.NEEDS_RESET
    assert [start.queue for start in of_type(function.start_effects(), StartQueue)] == [0, 2]
    assert function.faults == ("queue 1: a descriptor points outside the guest's memory",)
