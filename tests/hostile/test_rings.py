"""Ring indices and ring memory that cannot be."""

import os
import time

import pytest

from softdpu.spec.virtio_pci import DRIVER_OK
from softdpu.testkit import BROADCAST, Driver, LegacyDriver, ModernDriver, RequestFailed, frame
from tests.dpu_under_test import Dpu, Plugged
from tests.hostile.conftest import Bystander, broken, misplace
from tests.small_guest import SmallGuest

RX, TX = 0, 1
HELLO = frame(BROADCAST, bytes.fromhex("020000000001"), b"hello")
FAR = 0x7FFF_0000_0000


@pytest.mark.parametrize("jump", [257, 0x8000, 0xFFFF])
@pytest.mark.parametrize("queue", [RX, TX], ids=["receive", "transmit"])
def test_available_index_jumps(dpu: Dpu, device: Plugged, queue: int, jump: int) -> None:
    with SmallGuest(device, ModernDriver, buffers=0) as guest, dpu.representor(device) as outside:
        guest.net.split(queue).set_available_index(jump)
        guest.net.notify(queue)
        outside.send(HELLO)
        assert "index" in broken(dpu, guest)


def test_available_index_goes_back(dpu: Dpu, guest: SmallGuest) -> None:
    guest.net.send(HELLO)
    guest.net.await_used(TX, 1)
    guest.net.split(TX).set_available_index(0)
    guest.net.notify(TX)
    assert "index" in broken(dpu, guest)


@pytest.mark.parametrize("address", [0, FAR, (1 << 64) - 4096], ids=["zero", "far_away", "at_the_top"])
@pytest.mark.parametrize("part", ["queue_desc", "queue_driver", "queue_device"])
def test_ring_part_outside_memory(dpu: Dpu, guest: SmallGuest, part: str, address: int) -> None:
    misplace(guest, TX, part, address)
    assert "outside the guest's memory" in broken(dpu, guest)


def test_queue_enabled_without_addresses(dpu: Dpu, guest: SmallGuest) -> None:
    net = guest.net
    assert isinstance(net, ModernDriver)
    net.reset_queue(TX)
    net.set("queue_select", TX)
    for name in ("queue_desc", "queue_driver", "queue_device"):
        net.set(name, 0)
    net.set("queue_enable", 1)
    net.notify(TX)
    assert "no addresses" in broken(dpu, guest)


def test_ring_in_memory_that_was_never_mapped(dpu: Dpu, device: Plugged) -> None:
    """A VMM that maps after DRIVER_OK, or not at all."""
    with SmallGuest(device, ModernDriver) as guest:
        guest.memory.unmap_from(guest.vmm)
        guest.net.reset()
        guest.net.start()
        guest.net.notify(TX)
        broken(dpu, guest)


def test_ring_in_memory_that_was_mapped_without_descriptor(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device, ModernDriver) as guest:
        guest.memory.unmap_from(guest.vmm)
        guest.vmm.dma_map(None, address=guest.memory.base, length=guest.memory.size)
        guest.net.reset()
        guest.net.start()
        guest.net.notify(TX)
        assert "memory-backend-memfd,share=on" in broken(dpu, guest)


def test_ring_in_memory_that_is_read_only(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device, ModernDriver) as guest:
        guest.memory.unmap_from(guest.vmm)
        guest.memory.map_into(guest.vmm, flags=1)
        guest.net.reset()
        guest.net.start()
        guest.net.notify(TX)
        assert "read-only" in broken(dpu, guest)


@pytest.mark.parametrize("kind", [LegacyDriver, ModernDriver])
def test_unmap_during_traffic(dpu: Dpu, device: Plugged, kind: type[Driver]) -> None:
    """The reply means that the memory is touched no more, however many frames are on their way."""
    with SmallGuest(device, kind) as guest, dpu.representor(device) as outside:
        for _ in range(50):
            outside.send(HELLO)
            guest.net.send(HELLO)
        guest.memory.unmap_from(guest.vmm)
        copy = guest.memory.read(guest.memory.base, guest.memory.size)
        for _ in range(50):
            outside.send(HELLO)
        time.sleep(0.05)
        assert guest.memory.read(guest.memory.base, guest.memory.size) == copy


def test_memory_mapped_again_goes_on(dpu: Dpu, guest: SmallGuest) -> None:
    """QEMU unmaps and maps the same memory while the BIOS runs."""
    with dpu.representor(guest.device) as outside:
        guest.memory.unmap_from(guest.vmm)
        guest.memory.map_into(guest.vmm)
        guest.net.send(HELLO)
        assert b"hello" in outside.receive()
        outside.send(HELLO)
        assert guest.net.receive() == HELLO


def test_memfd_truncated_under_running_rings(dpu: Dpu, device: Plugged) -> None:
    """The VMM takes its pages away: an access would be SIGBUS, and end a process that is not prepared."""
    with SmallGuest(device, ModernDriver) as guest, dpu.representor(device) as outside:
        os.ftruncate(guest.memory.fd, 0)
        for _ in range(20):
            outside.send(HELLO)
        guest.net.notify(TX)
        assert "truncated" in broken(dpu, guest)


def test_memfd_truncated_by_half(dpu: Dpu, device: Plugged) -> None:
    """The rings stay, the buffers go."""
    with SmallGuest(device, ModernDriver, memory=8 << 20) as guest:
        ring = guest.net.split(TX)
        ring.write_descriptor(0, guest.memory.base + (6 << 20), 2048)
        os.ftruncate(guest.memory.fd, 4 << 20)
        ring.offer(0)
        ring.publish()
        guest.net.notify(TX)
        assert "truncated" in broken(dpu, guest)


def test_guest_that_never_drains_its_receive_ring(dpu: Dpu, guest: SmallGuest) -> None:
    with dpu.representor(guest.device) as outside:
        for _ in range(3000):
            outside.send(HELLO)
        time.sleep(0.1)
        assert len(guest.net.drain()) >= 64
    assert not guest.net.needs_reset


def test_neighbour_that_floods_a_guest_without_buffers(dpu: Dpu, guest: SmallGuest, bystander: Bystander) -> None:
    """Every frame ends in one place: the buffers that were posted, or a counter that says why not."""
    before = dpu.counters(guest.device)["drop_no_buffer"]
    guest.net.send(frame(BROADCAST, guest.net.mac, b"so that the switch learns"))
    bystander.guest.net.receive()
    for _ in range(200):
        bystander.guest.net.send(frame(guest.net.mac, bystander.guest.net.mac, b"flood"))
    bystander.guest.net.await_used(TX, 1)
    delivered = [data for data in guest.net.drain() if b"flood" in data]
    assert len(delivered) == guest.net.buffers
    assert dpu.counters(guest.device)["drop_no_buffer"] - before == 200 - len(delivered)


def test_guest_that_never_reads_its_used_ring(dpu: Dpu, guest: SmallGuest) -> None:
    ring, place = guest.net.split(TX), guest.memory.allocate(128)
    for round_ in range(10):
        for index in range(ring.size):
            ring.write_descriptor(index, place, 128)
            ring.offer(index)
        ring.publish()
        guest.net.notify(TX)
        deadline = time.monotonic() + 2
        while ring.used_index != ring.size * (round_ + 1) & 0xFFFF:
            assert time.monotonic() < deadline
    assert not guest.net.needs_reset


def test_doorbell_storm(dpu: Dpu, guest: SmallGuest) -> None:
    for _ in range(5000):
        guest.net.notify(TX)
    assert guest.net.status & DRIVER_OK


def test_same_chain_offered_over_and_over(guest: SmallGuest) -> None:
    """Wrong of the driver, and of no harm to anyone else: each offer is served."""
    ring = guest.net.split(TX)
    ring.write_descriptor(0, guest.memory.allocate(128), 128)
    for _ in range(200):
        ring.offer(0)
    ring.publish()
    guest.net.notify(TX)
    deadline = time.monotonic() + 2
    while ring.used_index != 200:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("length", [1, 11, 12, 13, 25])
def test_frame_shorter_than_an_ethernet_header(dpu: Dpu, guest: SmallGuest, length: int) -> None:
    ring = guest.net.split(TX)
    before = dpu.counters(guest.device)
    ring.write_descriptor(0, guest.memory.allocate(64), length)
    ring.offer(0)
    ring.publish()
    guest.net.notify(TX)
    guest.net.await_used(TX, 1)
    after = dpu.counters(guest.device)
    assert after["drop_too_short"] + after["drop_bad_header"] > before["drop_too_short"] + before["drop_bad_header"]


def test_frame_longer_than_the_mtu(dpu: Dpu, guest: SmallGuest) -> None:
    before = dpu.counters(guest.device)["drop_too_long"]
    with dpu.representor(guest.device) as outside:
        guest.net.send(frame(BROADCAST, guest.net.mac, bytes(60000)))
        guest.net.await_used(TX, 1)
        assert outside.drain() == []
    assert dpu.counters(guest.device)["drop_too_long"] == before + 1


@pytest.mark.parametrize("field", range(2))
def test_offload_that_was_not_negotiated(dpu: Dpu, guest: SmallGuest, field: int) -> None:
    """virtio 1.3 §5.1.6.2.1: flags and gso_type must be zero then."""
    before = dpu.counters(guest.device)["drop_bad_header"]
    place = guest.memory.allocate(128)
    guest.memory.write(place + field, b"\1")
    ring = guest.net.split(TX)
    ring.write_descriptor(0, place, 128)
    ring.offer(0)
    ring.publish()
    guest.net.notify(TX)
    guest.net.await_used(TX, 1)
    assert dpu.counters(guest.device)["drop_bad_header"] == before + 1


def test_map_refused_while_rings_run_changes_nothing(guest: SmallGuest, dpu: Dpu) -> None:
    with pytest.raises(RequestFailed):
        guest.memory.map_into(guest.vmm)
    with dpu.representor(guest.device) as outside:
        guest.net.send(HELLO)
        assert b"hello" in outside.receive()
