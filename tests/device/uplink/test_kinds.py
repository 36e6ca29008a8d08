"""Which kind of uplink an interface gets, and what is left when it goes."""

import asyncio
from collections.abc import Iterator

import pytest

from softdpu.fabric import representor, uplink
from softdpu.testkit import frame
from tests.device.uplink.conftest import CONF, OUTSIDE, joined
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest
from tests.waiting import until


@pytest.fixture(scope="module")
def mode() -> str:
    """All of these want XDP."""
    return "af_xdp"


def has_program(dpu: Dpu) -> bool:
    """Whether the kernel shows an XDP program on the uplink's interface."""
    return "prog/xdp" in dpu.ip("link", "show", "up0")


def hears_and_speaks(guest: SmallGuest, wire: Representor) -> None:
    asks = frame(OUTSIDE, guest.net.mac, b"still there?")
    guest.net.send(asks)
    assert wire.receive() == asks
    answer = frame(guest.net.mac, OUTSIDE, b"yes")
    wire.send(answer)
    assert guest.net.receive() == answer


def test_program_lasts_as_long_as_the_datapath(dpu: Dpu, wire: Representor) -> None:
    assert has_program(dpu)
    dpu.kill_controller()
    assert has_program(dpu)
    dpu.kill_datapath()
    until(lambda: not has_program(dpu))
    dpu.start_controller()
    joined(dpu, True)
    assert dpu.uplinks()["p0"]["mode"] == "af_xdp"


def test_another_kind_is_taken_when_the_controller_starts_anew(
    dpu: Dpu, wire: Representor, guest: SmallGuest, mode: str
) -> None:
    conf = dpu.root / CONF
    wanted = conf.read_text()
    for kind in ("af_packet", mode):
        dpu.kill_controller()
        conf.write_text(wanted.replace(mode, kind))
        dpu.start_controller()
        joined(dpu, True)
        assert (dpu.uplinks()["p0"]["mode"], has_program(dpu)) == (kind, kind == mode)
        hears_and_speaks(guest, wire)


@pytest.fixture
def bridge(dpu: Dpu) -> Iterator[None]:
    """An interface whose driver has no XDP."""
    dpu.ip("link", "add", "up0", "type", "bridge", "mcast_snooping", "0")
    dpu.ip("link", "set", "up0", "up")
    yield
    dpu.ip("link", "del", "up0")


def test_interface_without_xdp_gets_a_packet_socket_and_one_line_says_why(
    dpu: Dpu, bridge: None, device: Plugged
) -> None:
    until(lambda: "p0" in dpu.uplinks())
    shown = dpu.uplinks()["p0"]
    assert (shown["mode"], shown["refused"]) == ("af_packet", "its driver has no XDP")
    assert dpu.log.read_text().count("up0 cannot have AF_XDP: its driver has no XDP. AF_PACKET it is.") == 1


def test_interface_that_another_program_uses_gets_a_packet_socket(dpu: Dpu) -> None:
    dpu.ip("link", "add", "far0", "type", "veth", "peer", "name", "other0")
    found = asyncio.run(representor.find("other0", dpu.netns))
    assert found is not None
    taken = asyncio.run(uplink.open_wire(found, dpu.netns, True))
    again = asyncio.run(uplink.open_wire(found, dpu.netns, True))
    assert (taken.refusal, again.refusal) == ("", "another program has XDP sockets on it")
    for wire in (taken, again):
        wire.close()
    dpu.ip("link", "del", "far0")
