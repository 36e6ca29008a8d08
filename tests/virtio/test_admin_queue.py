"""The administration virtqueue in the transport (virtio 1.3 §2.13, §4.1.4.3)."""

from __future__ import annotations

import pytest

from softdpu.net.device import Function
from softdpu.net.mistakes import BadState
from softdpu.net.validation import decode, encode
from softdpu.pci.sriov import Sriov
from softdpu.spec import admin
from softdpu.spec import features as f
from softdpu.spec.admin import GroupType, Opcode, Status
from softdpu.virtio.admin.state import PartsObject
from softdpu.virtio.effects import StartQueue, StopQueue
from tests.virtio.drivers import Modern, make, of_type

LIST_QUERY = admin.REQUEST.pack(Opcode.LIST_QUERY, GroupType.SRIOV, 0)
LIST_USE = admin.REQUEST.pack(Opcode.LIST_USE, GroupType.SRIOV, 0) + admin.LIST_WORD.pack(admin.LEGACY)


def owner(queues: int = 5) -> Function:
    return make("modern", queues=queues, sriov=Sriov(4, 1), legacy_access=True)


def test_offered_where_there_can_be_vfs() -> None:
    assert Modern(owner()).offered() >> f.ADMIN_VQ & 1
    assert not Modern(make("modern")).offered() >> f.ADMIN_VQ & 1


@pytest.mark.parametrize("queues", [2, 3, 5, 65])
def test_index_follows_all_other_queues(queues: int) -> None:
    """§4.1.4.3.1: equal to, or bigger than num_queues, which excludes it."""
    driver = Modern(owner(queues))
    assert (driver.read("num_queues"), driver.read("admin_queue_index")) == (queues, queues)
    assert driver.read("admin_queue_num") == 1


def test_without_one_both_registers_are_zero() -> None:
    driver = Modern(make("modern"))
    assert (driver.read("admin_queue_index"), driver.read("admin_queue_num")) == (0, 0)


def test_it_is_there_once_the_feature_is_accepted() -> None:
    driver = Modern(owner())
    driver.negotiate(driver.offered() & ~f.mask_of(f.ADMIN_VQ))
    driver.write("queue_select", 5)
    assert driver.read("queue_size") == 0
    driver.negotiate()
    driver.write("queue_select", 5)
    assert driver.read("queue_size") == 256
    assert driver.read("queue_notify_off") == 5


def test_its_commands_go_the_way_of_control_commands() -> None:
    driver = Modern(owner())
    started = of_type(driver.bring_up(queues=6), StartQueue)
    assert [(queue.queue, queue.role) for queue in started][-2:] == [(4, "control"), (5, "control")]


def test_it_keeps_its_index_without_multiqueue() -> None:
    """§5.1.2: the control queue moves to 2 then, this one does not."""
    driver = Modern(owner())
    driver.negotiate(f.mask_of(f.VERSION_1, f.ADMIN_VQ, f.NET_CTRL_VQ))
    for queue in (0, 1, 2, 5):
        driver.set_up(queue)
    started = of_type(driver.write("device_status", 15), StartQueue)
    assert [(queue.queue, queue.role) for queue in started][-2:] == [(2, "control"), (5, "control")]


def test_a_command_is_answered_and_counted() -> None:
    function = owner()
    Modern(function).bring_up(queues=6)
    answer, said = function.command(5, LIST_QUERY, 16)
    assert admin.REPLY.unpack_from(answer)[0] == Status.OK
    assert function.owner.state.counts["LIST_QUERY"].done == 1
    assert [line.text.split(" >")[0] for line in said.log] == ["administration: LIST_QUERY SR-IOV member 0: OK"]


def test_control_commands_are_not_for_this_queue() -> None:
    """A command of the control queue is read as what it is here: one that no group has."""
    function = owner()
    Modern(function).bring_up(queues=6)
    assert admin.REPLY.unpack_from(function.command(5, b"\xff" * 24, 8)[0])[0] == Status.EINVAL
    assert function.command(4, LIST_QUERY, 8)[0] == b"\x01"


@pytest.mark.parametrize("how", ["status", "function level reset"])
def test_a_reset_takes_the_lists_back(how: str) -> None:
    function = owner()
    driver = Modern(function)
    driver.bring_up(queues=6)
    function.command(5, LIST_USE, 8)
    assert function.state.admin.used
    driver.write("device_status", 0) if how == "status" else function.reset()
    assert not function.state.admin.used


def test_it_is_reset_like_any_queue() -> None:
    """§2.6.1; the lists are the device's, not the queue's."""
    function = owner()
    driver = Modern(function)
    driver.bring_up(queues=6)
    function.command(5, LIST_USE, 8)
    driver.write("queue_select", 5)
    assert of_type(driver.write("queue_reset", 1), StopQueue) == [StopQueue(5)]
    assert driver.read("queue_enable") == 0
    assert function.state.admin.used == {GroupType.SRIOV: admin.LEGACY}


def test_the_next_controller_finds_the_lists_and_counts() -> None:
    function = owner()
    Modern(function).bring_up(queues=6)
    function.command(5, LIST_USE, 8)
    again = Function.restore(decode(encode(function.state)))
    assert again.owner.used(GroupType.SRIOV) == admin.LEGACY
    assert again.owner.state.counts["LIST_USE"].done == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("used", {7: 1}),
        ("used", {1: 1 << 40}),
        ("limits", (129, 0)),
        ("objects", {0: PartsObject(1, sets=False)}),
    ],
)
def test_a_saved_state_is_not_trusted(field: str, value: object) -> None:
    state = owner().state
    setattr(state.admin, field, value)
    with pytest.raises(BadState, match=f"admin.{field}"):
        Function.restore(state)


def test_a_driver_that_goes_on_for_ever_does_not_fill_the_log() -> None:
    """Each of the first commands has a line; the rest are counted and traced."""
    function = owner()
    Modern(function).bring_up(queues=6)
    levels = [function.command(5, LIST_QUERY, 16)[1].log[0].level for _ in range(300)]
    assert (levels[:256].count("info"), levels[256:].count("debug")) == (256, 44)
