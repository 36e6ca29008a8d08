"""A device's record: what the datapath keeps of it for the next controller."""

import msgspec
import pytest

from softdpu.controller.devices import Device
from softdpu.datapath.messages import Access, Event
from softdpu.net.mistakes import BadState
from tests.controller.made import made


def event(kind: str, cause: str = "") -> Event:
    return msgspec.convert(
        {"function": 0, "request": 1, "kind": kind, "queue": 0, "cause": cause, "type": "Event"}, Event
    )


def test_a_device_is_restored_as_it_was() -> None:
    device = made()
    device.answer(event("connected", "pid 1"))
    again = Device.restored(0, device.state(), connected=True)
    assert again.record == device.record
    assert again.peer.endswith("(pid 1)"), "a restart does not forget who is connected"
    assert again.changed_state() is None


def test_a_vmm_that_left_is_nobody() -> None:
    device = made()
    device.answer(event("connected", "pid 1"))
    device.answer(event("disconnected"))
    assert (device.connected, device.peer) == (False, "")


@pytest.mark.parametrize("state", [b"", b"\xc1", b"\x80", b"\x93\1\2\3"])
def test_a_state_that_is_none_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Device.restored(0, state, connected=False)


def test_a_state_of_other_fields_is_refused() -> None:
    """What another version kept may be anything."""
    plain = msgspec.msgpack.decode(made().state())
    changes: tuple[dict[str, object], ...] = ({"vuid": "../../etc/x"}, {"kind": "other"}, {"bdf": 3}, {"function": {}})
    for change in changes:
        with pytest.raises((msgspec.ValidationError, ValueError)):
            Device.restored(0, msgspec.msgpack.encode(plain | change), connected=False)


def test_a_state_with_registers_that_cannot_be_is_refused() -> None:
    plain = msgspec.msgpack.decode(made().state())
    plain["function"]["config"]["mtu"] = 5
    with pytest.raises(BadState, match="mtu"):
        Device.restored(0, msgspec.msgpack.encode(plain), connected=False)


def test_state_travels_only_when_it_changed() -> None:
    device = made()
    device.sent_state()
    read = Access(function=0, request=1, write=False, region=7, offset=0, size=4, data=b"", isr=0)
    assert device.answer(read).state is None
    write = Access(function=0, request=2, write=True, region=7, offset=4, size=2, data=b"\3\0", isr=0)
    assert device.answer(write).state is not None
    assert device.answer(write).state is None
    assert device.seen.is_set(), "the host's operating system has enabled it"


def test_our_own_mistake_costs_this_access_only(monkeypatch: pytest.MonkeyPatch) -> None:
    device = made()
    read = Access(function=0, request=1, write=False, region=7, offset=0, size=4, data=b"", isr=0)
    with monkeypatch.context() as broken:
        broken.setattr(device, "function", None)
        assert device.answer(read).errno == 5
    assert device.answer(read).data == b"\xf4\x1a\x00\x10"
