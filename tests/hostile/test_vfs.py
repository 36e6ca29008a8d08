"""Hosts and guests that do with VFs what they should not: nothing hangs, nothing is left, others do not notice."""

import threading
from collections.abc import Iterator

import pytest

from softdpu.testkit import Client, frame
from tests.controller.left import things
from tests.dpu_under_test import Dpu
from tests.small_guest import SmallGuest
from tests.vfs import SETTINGS, Physical, function, listed, set_vfs
from tests.waiting import until

OUTSIDE = bytes.fromhex("02000000fffe")


@pytest.fixture
def own_dpu() -> Iterator[Dpu]:
    """A DPU whose second PF has a VF that a neighbour uses all the while."""
    with Dpu(SETTINGS) as dpu:
        set_vfs(dpu, 1, 1)
        with SmallGuest(function(dpu, "VF", 0)) as neighbour, dpu.representor(neighbour.device) as outside:
            before = things(dpu)
            yield dpu
            until(lambda: len(listed(dpu)) == 1, "only the neighbour's VF is left")
            until(lambda: things(dpu) == before, "the kernel has closed each tap, one by one")
            neighbour.net.send(frame(OUTSIDE, neighbour.net.mac, b"undisturbed"))
            assert b"undisturbed" in outside.receive()
        assert dpu.own_mistakes() == []


def test_vf_enable_that_flaps_ends_as_it_stands(own_dpu: Dpu) -> None:
    physical = Physical(own_dpu)
    for number in (*range(1, 30), 5):
        physical.disable()
        physical.enable(number)
    until(lambda: len(listed(own_dpu)) == 1 + 5, "NumVFs is 5 in the end")
    physical.disable()
    physical.close()


def test_accesses_while_vfs_are_destroyed_end_with_the_connection(own_dpu: Dpu) -> None:
    for _ in range(3):
        set_vfs(own_dpu, 0, 8)
        paths = [vf["export_socket"] for vf in listed(own_dpu) if vf["pf_id"] == 0]
        ended: list[type[Exception]] = []

        def read_for_ever(path: str, ended: list[type[Exception]] = ended) -> None:
            try:
                with Client(path, timeout=20) as vmm:
                    vmm.negotiate()
                    while True:
                        vmm.read(7, 0, 4)
                        vmm.write(7, 4, b"\x06\x00")
            except (OSError, EOFError) as error:
                ended.append(type(error))

        threads = [threading.Thread(target=read_for_ever, args=[path]) for path in paths]
        for thread in threads:
            thread.start()
        until(lambda: all(vf["vmm"] == "connected" for vf in listed(own_dpu)), "all are in use")
        set_vfs(own_dpu, 0, 0)
        for thread in threads:
            thread.join(30)
        assert len(ended) == len(threads)
        assert TimeoutError not in ended


def test_a_number_beyond_all_vfs_enables_none(own_dpu: Dpu) -> None:
    physical = Physical(own_dpu)
    physical.enable(0xFFFF)
    assert (physical.read("num_vfs"), physical.read("control") & 1) == (0, 1)
    physical.disable()
    physical.close()
