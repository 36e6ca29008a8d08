"""VFIO_USER_DEVICE_FEATURE: DMA_LOGGING_START, _STOP and _REPORT."""

import errno
from collections.abc import Iterator

import pytest

from softdpu.testkit import (
    BROADCAST,
    Client,
    Driver,
    GuestMemory,
    LegacyDriver,
    ModernDriver,
    RequestFailed,
    frame,
    wire,
)
from softdpu.testkit.wire import PAGE, Feature, FeatureFlag
from tests.dpu_under_test import Dpu, Plugged
from tests.small_guest import SmallGuest

GET, SET = FeatureFlag.GET, FeatureFlag.SET
FAR = 0x7FFF_0000_0000
MOST = 2 << 20  # bytes of a bitmap, as VERSION tells


def refusal(vmm: Client, flags: int, data: bytes, argsz: int | None = None) -> int | None:
    with pytest.raises(RequestFailed) as refused:
        vmm.device_feature(flags, data, argsz)
    return refused.value.errno


def start(ranges: list[tuple[int, int]], page_size: int = PAGE, count: int | None = None) -> bytes:
    listed = b"".join(wire.DMA_LOGGING_RANGE.pack(address=start, length=length) for start, length in ranges)
    number = len(ranges) if count is None else count
    return wire.DMA_LOGGING_START.pack(page_size=page_size, ranges=number) + listed


def report(address: int, length: int, page_size: int = PAGE) -> bytes:
    return wire.DMA_LOGGING_REPORT.pack(address=address, length=length, page_size=page_size)


@pytest.fixture
def logged(vmm: Client, memory: GuestMemory) -> Iterator[Client]:
    """A VMM with memory whose writes are logged."""
    memory.map_into(vmm)
    vmm.start_dirty_log()
    yield vmm


# ---- START and STOP


@pytest.mark.parametrize("page_size", [512, PAGE, 2 * PAGE, 1 << 21, 1 << 63])
def test_a_page_of_the_log_is_always_small(vmm: Client, page_size: int) -> None:
    assert vmm.start_dirty_log(page_size=page_size) == PAGE


def test_ranges_are_repeated_in_the_reply(vmm: Client) -> None:
    data = start([(0, PAGE), (4 * PAGE, PAGE)])
    assert vmm.device_feature(Feature.DMA_LOGGING_START | SET, data) == data


def test_starting_twice_is_starting_once(logged: Client) -> None:
    assert logged.start_dirty_log() == PAGE


@pytest.mark.parametrize("page_size", [PAGE // 2, 2 * PAGE])
def test_starting_again_with_other_pages(logged: Client, page_size: int) -> None:
    assert refusal(logged, Feature.DMA_LOGGING_START | SET, start([], page_size)) == errno.EINVAL


def test_stopping_what_was_not_started(vmm: Client) -> None:
    vmm.stop_dirty_log()
    vmm.device_feature(Feature.DMA_LOGGING_STOP | SET, start([]))


WRONG = {
    "no_page_size": (start([], 0), errno.EINVAL),
    "page_size_between_powers_of_two": (start([], 3 * PAGE), errno.EINVAL),
    "empty_range": (start([(0, 0)]), errno.EINVAL),
    "start_within_a_page": (start([(1, PAGE)]), errno.EINVAL),
    "end_within_a_page": (start([(0, PAGE + 1)]), errno.EINVAL),
    "start_within_a_larger_page": (start([(PAGE, 2 * PAGE)], 2 * PAGE), errno.EINVAL),
    "ranges_that_overlap": (start([(PAGE, 2 * PAGE), (2 * PAGE, PAGE)]), errno.EINVAL),
    "the_same_range_twice": (start([(PAGE, PAGE), (PAGE, PAGE)]), errno.EINVAL),
    "range_beyond_the_end": (start([(PAGE, (1 << 64) - PAGE)]), errno.EOVERFLOW),
    "fewer_ranges_than_promised": (start([(0, PAGE)], count=2), errno.EINVAL),
    "too_many_ranges": (start([(2 * n * PAGE, PAGE) for n in range(257)]), errno.E2BIG),
    "more_ranges_promised_than_a_message_has": (start([], count=0xFFFFFFFF), errno.E2BIG),
    "no_control": (b"", errno.EINVAL),
    "control_cut_short": (start([])[:-1], errno.EINVAL),
}


@pytest.mark.parametrize(("data", "number"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_started(vmm: Client, data: bytes, number: int) -> None:
    assert refusal(vmm, Feature.DMA_LOGGING_START | SET, data) == number
    assert refusal(vmm, Feature.DMA_LOGGING_REPORT | GET, report(0, PAGE)) == errno.EINVAL


def test_as_many_ranges_as_linux_takes(vmm: Client) -> None:
    assert vmm.start_dirty_log([(2 * n * PAGE, PAGE) for n in range(256)]) == PAGE


# ---- REPORT


def test_nothing_is_reported_that_was_not_written(logged: Client, memory: GuestMemory) -> None:
    assert logged.dirty_log(memory.base, memory.size) == bytes(memory.size // PAGE // 8)


def test_reporting_what_is_not_logged(vmm: Client, memory: GuestMemory) -> None:
    memory.map_into(vmm)
    asked = report(memory.base, PAGE)
    assert refusal(vmm, Feature.DMA_LOGGING_REPORT | GET, asked) == errno.EINVAL
    vmm.start_dirty_log()
    vmm.stop_dirty_log()
    assert refusal(vmm, Feature.DMA_LOGGING_REPORT | GET, asked) == errno.EINVAL


def test_bitmaps_have_whole_words(logged: Client, memory: GuestMemory) -> None:
    for pages, words in ((1, 1), (64, 1), (65, 2), (1024, 16)):
        assert len(logged.dirty_log(memory.base, pages * PAGE)) == 8 * words
    assert len(logged.dirty_log(memory.base, PAGE, page_size=32)) == 16
    assert len(logged.dirty_log(memory.base, 64 * PAGE, page_size=1 << 16)) == 8


def test_a_reply_repeats_the_request_and_says_how_long_it_is(logged: Client, memory: GuestMemory) -> None:
    asked = report(memory.base, 64 * PAGE)
    head = wire.DEVICE_FEATURE.pack(argsz=4096, flags=Feature.DMA_LOGGING_REPORT | GET)
    reply = logged.request(wire.Op.DEVICE_FEATURE, head + asked).payload
    assert reply == wire.DEVICE_FEATURE.pack(argsz=40, flags=Feature.DMA_LOGGING_REPORT | GET) + asked + bytes(8)


def test_room_for_less_than_the_bitmap(logged: Client, memory: GuestMemory) -> None:
    asked = report(memory.base, 65 * PAGE)
    assert refusal(logged, Feature.DMA_LOGGING_REPORT | GET, asked, argsz=8 + 24 + 15) == errno.EINVAL
    assert len(logged.device_feature(Feature.DMA_LOGGING_REPORT | GET, asked, argsz=8 + 24 + 16)) == 40


BASE = 0x1_0000_0000
WRONG_REPORTS = {
    "no_page_size": (report(BASE, PAGE, 0), errno.EINVAL),
    "page_size_between_powers_of_two": (report(BASE, 4 * PAGE, 3 * PAGE), errno.EINVAL),
    "page_larger_than_the_range": (report(BASE, PAGE, 2 * PAGE), errno.EINVAL),
    "nothing": (report(BASE, 0), errno.EINVAL),
    "start_within_a_page": (report(BASE + 1, PAGE), errno.EINVAL),
    "end_within_a_page": (report(BASE, PAGE + 1), errno.EINVAL),
    "longer_than_a_bitmap": (report(BASE, 8 * MOST * PAGE + PAGE), errno.EINVAL),
    "finer_than_a_bitmap": (report(BASE, 32 << 20, 1), errno.EINVAL),
    "beyond_the_end": (report(BASE, (1 << 64) - BASE), errno.EOVERFLOW),
    "where_no_memory_is": (report(FAR, PAGE), errno.ENOENT),
    "where_no_page_can_be": (report(0xDEADBEEF, 16 * PAGE), errno.ENOENT),
    "cut_short": (report(BASE, PAGE)[:-1], errno.EINVAL),
    "no_request": (b"", errno.EINVAL),
}


@pytest.mark.parametrize(("asked", "number"), WRONG_REPORTS.values(), ids=WRONG_REPORTS.keys())
def test_what_cannot_be_reported(logged: Client, asked: bytes, number: int) -> None:
    assert refusal(logged, Feature.DMA_LOGGING_REPORT | GET, asked, argsz=8 * MOST) == number


def test_the_longest_bitmap_comes_whole(logged: Client) -> None:
    assert logged.dirty_log(0, 8 * MOST * PAGE) == bytes(MOST)


# ---- what is logged


def written(guest: SmallGuest) -> set[int]:
    return set(guest.vmm.dirty_pages(guest.memory.base, guest.memory.size))


def page(address: int) -> int:
    return address & ~(PAGE - 1)


@pytest.mark.parametrize("kind", [LegacyDriver, ModernDriver])
def test_what_is_received_is_logged_with_its_ring(dpu: Dpu, device: Plugged, kind: type[Driver]) -> None:
    with SmallGuest(device, kind, interrupts="none") as guest, dpu.representor(device) as outside:
        guest.vmm.start_dirty_log()
        outside.send(frame(guest.net.mac, bytes(6), b"hello"))
        before = guest.memory.read(guest.memory.base, guest.memory.size)
        while not guest.net.rings[0].pending:
            pass
        after = guest.memory.read(guest.memory.base, guest.memory.size)
        changed = {
            guest.memory.base + at
            for at in range(0, len(after), PAGE)
            if after[at : at + PAGE] != before[at : at + PAGE]
        }
        assert changed <= (first := written(guest))
        assert page(guest.net.rings[0].device) in first
        assert written(guest) == set()


def test_what_is_sent_leaves_only_its_ring_written(device: Plugged) -> None:
    with SmallGuest(device) as guest:
        guest.vmm.start_dirty_log()
        guest.net.send(frame(BROADCAST, guest.net.mac, bytes(1000)))
        guest.net.await_used(1, 5.0)
        ring = guest.net.rings[1]
        assert written(guest) <= {page(ring.device), page(ring.device + 6 + 8 * ring.size)}


def test_answers_to_commands_are_logged(device: Plugged) -> None:
    with SmallGuest(device) as guest:
        guest.vmm.start_dirty_log()
        assert guest.net.control(0, 0, b"\1") == b"\0"
        pages = written(guest)
        assert page(guest.net.rings[guest.net.control_queue].device) in pages
        assert len(pages) >= 2


def test_memory_that_comes_later_is_logged_and_is_told_of_when_it_has_gone(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device) as guest, GuestMemory(1 << 16, base=FAR) as more, dpu.representor(device) as outside:
        guest.vmm.start_dirty_log()
        more.map_into(guest.vmm)
        ring = guest.net.split(0)
        for index in range(ring.size):
            ring.write_descriptor(index, FAR + PAGE, 2048, 2)
        outside.send(frame(guest.net.mac, bytes(6)))
        while not ring.pending:
            pass
        more.unmap_from(guest.vmm)
        assert list(guest.vmm.dirty_pages(FAR, more.size)) == [FAR + PAGE]
        assert list(guest.vmm.dirty_pages(FAR, more.size)) == []


def test_logging_outlives_a_reset_but_not_its_vmm(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device) as guest:
        guest.vmm.start_dirty_log()
        guest.vmm.reset()
        guest.net.msix_on, guest.net.interrupts = False, None
        guest.net.reset()
        guest.net.start()
        guest.net.send(frame(BROADCAST, guest.net.mac))
        guest.net.await_used(1, 5.0)
        assert page(guest.net.rings[1].device) in written(guest)
    with SmallGuest(device) as guest, pytest.raises(RequestFailed) as refused:
        written(guest)
    assert refused.value.errno == errno.EINVAL
