"""Accesses of any size and alignment, reduced to whole registers."""

from hypothesis import given
from hypothesis import strategies as st

from softdpu.spec.registers import RO, RW, WO, Bank, Reg
from softdpu.virtio.bank import RegisterFile
from softdpu.virtio.outcome import NOTHING, Effects, note

BANK = Bank("bank", "", (Reg("low", 0, 2, RW), Reg("fixed", 2, 1, RO), Reg("bell", 4, 2, WO), Reg("wide", 8, 8, RW)))


class Owner:
    """Two registers that hold what is written, one that does not, one that rings."""

    def __init__(self) -> None:
        self.low, self.wide, self.rung = 0x2211, 0x8877665544332211, list[int]()

    def read_low(self) -> int:
        return self.low

    def write_low(self, value: int) -> Effects:
        self.low = value
        return note("low")

    def read_fixed(self) -> int:
        return 0x33

    def write_bell(self, value: int) -> Effects:
        self.rung.append(value)
        return note("bell")

    def read_wide(self) -> int:
        return self.wide

    def write_wide(self, value: int) -> Effects:
        self.wide = value
        return NOTHING


def test_whole_register() -> None:
    registers = RegisterFile(BANK, Owner())
    assert registers.read(0, 2) == b"\x11\x22"


def test_read_across_registers_and_gaps() -> None:
    registers = RegisterFile(BANK, Owner())
    assert registers.read(0, 18) == bytes.fromhex("1122 33 00 0000 0000 1122334455667788 0000")


def test_half_of_a_wide_register_is_changed_alone() -> None:
    """virtio 1.3 §4.1.3.2: each half of a 64-bit field can be accessed independently."""
    owner = Owner()
    RegisterFile(BANK, owner).write(12, b"\xaa\xbb\xcc\xdd")
    assert owner.wide == 0xDDCCBBAA44332211


def test_write_across_registers_reaches_each_in_order() -> None:
    owner = Owner()
    effects = RegisterFile(BANK, owner).write(1, bytes(range(1, 6)))
    assert owner.low == 0x0111
    assert owner.rung == [0x0504]
    assert [line.text for line in effects.log] == ["low", "bell"]


def test_what_cannot_be_written_or_read_is_ignored() -> None:
    registers = RegisterFile(BANK, Owner())
    assert registers.write(2, b"\xff") == NOTHING
    assert registers.read(4, 2) == bytes(2)
    assert registers.read(100, 4) == bytes(4)


@given(st.integers(0, 20), st.integers(1, 20))
def test_any_access_equals_its_bytes(offset: int, size: int) -> None:
    registers = RegisterFile(BANK, Owner())
    assert registers.read(offset, size) == b"".join(registers.read(at, 1) for at in range(offset, offset + size))
