"""Register accesses that no driver makes."""

import random

import pytest

from softdpu.spec.virtio_pci import DRIVER_OK, FEATURES_OK
from softdpu.testkit import Client, GuestMemory, LegacyDriver, ModernDriver, NegotiationFailed
from softdpu.testkit.wire import RegionIndex
from tests.dpu_under_test import Plugged
from tests.small_guest import SmallGuest


def test_noise_all_over_every_region(vmm: Client) -> None:
    regions = {index: length for index in range(9) if (length := vmm.region_info(index)["length"])}
    chance = random.Random(19)  # the same noise every time
    for _ in range(3000):
        region, length = chance.choice(list(regions.items()))
        size = chance.choice((1, 2, 4, 8))
        offset = chance.randrange(length - size + 1)
        if chance.random() < 0.5:
            vmm.write(region, offset, chance.randbytes(size))
        else:
            assert len(vmm.read(region, offset, size)) == size
    vmm.reset()
    assert vmm.read(RegionIndex.CONFIG, 0, 4) == b"\xf4\x1a\x00\x10"


def test_works_for_a_driver_after_noise(device: Plugged) -> None:
    with SmallGuest(device, LegacyDriver) as guest:
        assert guest.net.status & DRIVER_OK


@pytest.mark.parametrize("bit", [10, 61, 90, 127])
def test_feature_that_was_not_offered(vmm: Client, memory: GuestMemory, bit: int) -> None:
    """virtio 1.3 §2.2.2: the device refuses FEATURES_OK."""
    driver = ModernDriver(vmm, memory)
    driver.begin()
    with pytest.raises(NegotiationFailed):
        driver.accept(driver.offered() | 1 << bit)
    assert not driver.status & FEATURES_OK


def test_modern_without_version_1(vmm: Client, memory: GuestMemory) -> None:
    driver = ModernDriver(vmm, memory)
    driver.begin()
    with pytest.raises(NegotiationFailed):
        driver.accept(driver.offered() & 0xFFFFFFFF)


@pytest.mark.parametrize("select", [3, 64, 0xFFFF])
def test_queue_that_is_not_there(vmm: Client, memory: GuestMemory, select: int) -> None:
    driver = ModernDriver(vmm, memory)
    driver.begin()
    driver.negotiate()
    driver.set("queue_select", select)
    assert driver.get("queue_size") == 0
    for name in ("queue_size", "queue_desc", "queue_enable", "queue_msix_vector"):
        driver.set(name, 1)
    driver.status |= DRIVER_OK
    assert driver.get("queue_enable") == 0


@pytest.mark.parametrize("size", [0, 3, 255, 512, 0x8000, 0xFFFF])
def test_queue_size_that_cannot_be(vmm: Client, memory: GuestMemory, size: int) -> None:
    driver = ModernDriver(vmm, memory)
    driver.begin()
    driver.negotiate()
    driver.set("queue_select", 0)
    driver.set("queue_size", size)
    assert driver.get("queue_size") != size or size == 0


@pytest.mark.parametrize("vector", [10, 2048, 0xFFFE])
@pytest.mark.parametrize("register", ["config_msix_vector", "queue_msix_vector"])
def test_vector_that_is_not_there(vmm: Client, memory: GuestMemory, register: str, vector: int) -> None:
    """virtio 1.3 §4.1.5.1.2.1: it reads back as NO_VECTOR."""
    driver = ModernDriver(vmm, memory)
    driver.begin()
    driver.negotiate()
    driver.enable_msix()
    driver.set(register, vector)
    assert driver.get(register) == 0xFFFF


def test_legacy_page_number_at_the_top(device: Plugged) -> None:
    with SmallGuest(device, LegacyDriver) as guest:
        guest.net.reset()
        guest.net.begin()
        guest.net.set("queue_select", 1)
        guest.net.set("queue_address", 0xFFFFFFFF)
        guest.net.status |= DRIVER_OK
        guest.net.notify(1)
        assert guest.net.status & DRIVER_OK
