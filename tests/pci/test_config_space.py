"""What a driver can change in configuration space, and what comes of it."""

import pytest

from softdpu.net.state import Layout
from softdpu.pci.description import CONFIG_REGION
from softdpu.pci.plan import MODERN_BAR
from softdpu.spec import pci
from softdpu.spec import virtio_pci as v
from softdpu.virtio.effects import AcknowledgeIsr, Kick, Reset, SetInterrupts
from softdpu.virtio.outcome import NOTHING
from tests.virtio.drivers import Modern, Registers, capability, enable_msix, header, make, of_type


@pytest.mark.parametrize(
    ("layout", "sizes"),
    [
        ("transitional", [0xFFFFFFC1, 0xFFFFF000, 0, 0, 0xFFFFC00C, 0xFFFFFFFF]),
        ("modern", [0, 0xFFFFF000, 0, 0, 0xFFFFC00C, 0xFFFFFFFF]),
        ("legacy", [0xFFFFFFC1, 0xFFFFF000, 0, 0, 0, 0]),
    ],
)
def test_writing_ones_to_bars_reads_back_their_size(layout: Layout, sizes: list[int]) -> None:
    """PCI 3.0 §6.2.5.1: 64 bytes of I/O, 4 KiB of memory, 16 KiB of 64-bit prefetchable memory."""
    registers = header(make(layout))
    for bar in range(6):
        registers.write(f"bar{bar}", 0xFFFFFFFF)
    assert [registers.read(f"bar{bar}") for bar in range(6)] == sizes


def test_bar_keeps_its_address_and_type() -> None:
    registers = header(make())
    registers.write("bar0", 0xC05F)
    assert registers.read("bar0") == 0xC041


@pytest.mark.parametrize("offset", [0x00, 0x02, 0x08, 0x0E, 0x2C, 0x34, 0x3D])
def test_identity_cannot_be_written(offset: int) -> None:
    function = make()
    before, _ = function.read(CONFIG_REGION, offset, 1)
    function.write(CONFIG_REGION, offset, bytes([before[0] ^ 0xFF]))
    assert function.read(CONFIG_REGION, offset, 1)[0] == before


def test_command_has_its_writable_bits_only() -> None:
    """PCI 3.0 §6.2.2."""
    registers = header(make())
    registers.write("command", 0xFFFF)
    assert registers.read("command") == pci.COMMAND_WRITABLE


@pytest.mark.parametrize("command", [pci.COMMAND_IO, pci.COMMAND_MEMORY])
def test_decoding_follows_the_command_register(command: int) -> None:
    function = make()
    assert not function.decoding
    header(function).write("command", command)
    assert function.decoding


def test_intx_disable_is_told() -> None:
    function = make()
    registers = header(function)
    effects = registers.write("command", pci.COMMAND_INTX_DISABLE)
    assert effects.items == (SetInterrupts(msix=False, intx_disabled=True),)
    assert registers.write("command", pci.COMMAND_INTX_DISABLE) == NOTHING


def test_msix_enable_is_told() -> None:
    function = make()
    assert enable_msix(function).items == (SetInterrupts(msix=True, intx_disabled=False),)
    assert enable_msix(function, on=False).items == (SetInterrupts(msix=False, intx_disabled=False),)


def test_interrupt_status_shows_a_pending_intx() -> None:
    """virtio 1.3 §4.1.4.5.1: the OR of the ISR bits, while MSI-X is off."""
    function = make()
    status = header(function)
    assert status.read("status", isr=2) == pci.STATUS_CAPABILITIES | pci.STATUS_INTERRUPT
    assert status.read("status", isr=0) == pci.STATUS_CAPABILITIES
    enable_msix(function)
    assert status.read("status", isr=2) == pci.STATUS_CAPABILITIES


@pytest.mark.parametrize(("written", "read"), [(3, 3), (0, 0), (1, 0), (2, 0)])
def test_power_states_that_exist_can_be_entered(written: int, read: int) -> None:
    """PCI PM 1.2 §3.2.4: D1 and D2 are not offered; a write of them changes nothing."""
    power = capability(make(), pci.POWER_MANAGEMENT, pci.CAP_ID_PM)
    power.write("control", written)
    assert power.read("control") == pci.PM_NO_SOFT_RESET | read


def test_function_level_reset() -> None:
    """PCIe 5.0 §6.6.2: everything returns to reset; the bit reads as 0."""
    function = make()
    modern = Modern(function)
    modern.bring_up()
    enable_msix(function)
    header(function).write("command", 7)
    express = capability(function, pci.EXPRESS, pci.CAP_ID_EXPRESS)
    effects = express.write("device_control", pci.DEVCTL_RESET | pci.DEVCTL_FLR)
    assert effects.items[0] == Reset()
    assert of_type(effects, SetInterrupts) == [SetInterrupts(msix=False, intx_disabled=False)]
    assert express.read("device_control") == pci.DEVCTL_RESET
    assert header(function).read("command") == modern.read("device_status") == 0
    assert function.state == make().state


def window(function_registers: Registers, offset: int, length: int, bar: int = MODERN_BAR) -> Registers:
    function_registers.write("bar", bar)
    function_registers.write("offset", offset)
    function_registers.write("length", length)
    return function_registers


def access(registers: Registers) -> Registers:
    return capability(registers.function, v.PCI_CFG_CAP, pci.CAP_ID_VENDOR, v.CAP_PCI)


def test_window_reads_a_register() -> None:
    """virtio 1.3 §4.1.4.9: pci_cfg_data shows what the BAR has."""
    modern = Modern(make())
    cap = window(access(modern), v.COMMON.offset("num_queues"), 2)
    assert cap.read("pci_cfg_data") & 0xFFFF == 3


def test_window_writes_a_register() -> None:
    modern = Modern(make())
    window(access(modern), v.COMMON.offset("device_status"), 1).write("pci_cfg_data", 1)
    assert modern.read("device_status") == 1


def test_window_notifies_a_queue() -> None:
    """virtio 1.3 §4.1.4.9.1: a write is executed as a write to the BAR."""
    modern = Modern(make())
    modern.bring_up()
    effects = window(access(modern), 0x3004, 2).write("pci_cfg_data", 1)
    assert effects.items == (Kick(1),)


def test_window_reads_and_clears_isr() -> None:
    function = make()
    cap = window(access(Modern(function)), 0x1000, 1)
    data, effects = function.read(CONFIG_REGION, cap.base + 0x10, 1, 3)
    assert data == b"\x03"
    assert effects.items == (AcknowledgeIsr(3),)


@pytest.mark.parametrize(
    ("offset", "length", "bar"), [(0x14, 3, 4), (0x14, 0, 4), (0x15, 2, 4), (0x14, 1, 1), (0x14, 1, 9)]
)
def test_window_refuses_what_a_driver_must_not_ask(offset: int, length: int, bar: int) -> None:
    """virtio 1.3 §4.1.4.9.2: sizes 1, 2 and 4, aligned, within a structure."""
    modern = Modern(make())
    window(access(modern), offset, length, bar).write("pci_cfg_data", 0x01010101)
    assert modern.read("device_status") == 0


def test_dump_of_the_whole_space_changes_nothing() -> None:
    function = make()
    data, effects = function.read(CONFIG_REGION, 0, 4096, 3)
    assert len(data) == 4096
    assert effects == NOTHING


def test_state_keeps_only_what_differs_from_reset() -> None:
    function = make()
    registers = header(function)
    registers.write("bar0", 0xC001)
    assert function.state.pci.config == {0x10: 0xC001}
    registers.write("bar0", 0)
    assert function.state.pci.config == {}
