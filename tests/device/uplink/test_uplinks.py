"""Guests and the network outside, by an interface that the operator named: one end of a veth pair here."""

import errno
import select
import socket
import struct
import sys
from collections.abc import Callable

from softdpu.testkit import BROADCAST, frame
from tests.device.uplink.conftest import OUTSIDE, closes, dropped, joined
from tests.dpu_under_test import Dpu, Plugged, Representor
from tests.small_guest import SmallGuest
from tests.waiting import until

SOL_PACKET, PACKET_AUXDATA = 263, 8
GUEST_IP, FAR_IP = socket.inet_aton("10.9.0.2"), socket.inet_aton("10.9.0.1")


def test_guest_and_wire_reach_each_other(wire: Representor, guest: SmallGuest) -> None:
    asked = frame(BROADCAST, guest.net.mac, b"who is there")
    guest.net.send(asked)
    assert wire.receive() == asked
    for number in range(100):
        answer = frame(guest.device.mac, OUTSIDE, b"%d" % number)
        wire.send(answer)
        assert guest.net.receive() == answer
        thanks = frame(OUTSIDE, guest.net.mac, b"thanks %d" % number)
        guest.net.send(thanks)
        assert wire.receive() == thanks


def test_vlan_tags_come_through_both_ways(wire: Representor, guest: SmallGuest) -> None:
    """The kernel takes tags out of what it receives and tells them apart; the guest sees them where they belong."""
    tag = bytes.fromhex("81002007")
    plain = frame(guest.device.mac, OUTSIDE, b"seven")
    wire.send(plain[:12] + tag + plain[12:])
    assert guest.net.receive() == plain[:12] + tag + plain[12:]
    sent = frame(OUTSIDE, guest.net.mac, b"back")
    wire.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    guest.net.send(sent[:12] + tag + sent[12:])
    until(lambda: bool(select.select([wire.socket], [], [], 0)[0]))
    data, [(_, _, told)], _, address = wire.socket.recvmsg(2000, 100)
    while address[2] == socket.PACKET_OUTGOING:
        data, [(_, _, told)], _, address = wire.socket.recvmsg(2000, 100)
    assert (data, told[16:18]) == (sent, (0x2007).to_bytes(2, sys.byteorder))


def test_guest_pings_the_kernel_at_the_other_end(dpu: Dpu, wire: Representor, guest: SmallGuest) -> None:
    dpu.ip("address", "add", "10.9.0.1/24", "dev", "far0")
    ask = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, guest.net.mac, GUEST_IP, bytes(6), FAR_IP)
    guest.net.send(BROADCAST + guest.net.mac + b"\x08\x06" + ask)
    reply = wanted(guest, lambda got: got[12:14] == b"\x08\x06" and got[20:22] == b"\0\2")
    mac = reply[22:28]
    for sequence in range(20):
        echo = icmp(struct.pack("!BBHHH", 8, 0, 0, 7, sequence) + b"softdpu" * 20)
        guest.net.send(mac + guest.net.mac + b"\x08\x00" + ipv4(echo))
        answer = wanted(guest, lambda got: got[12:14] == b"\x08\x00" and got[23] == 1)
        assert answer[34] == 0
        assert answer[38:42] == struct.pack("!HH", 7, sequence)
        assert answer[42 : 42 + 140] == b"softdpu" * 20
    wire.drain()


def test_link_and_mtu_of_the_interface_are_respected(dpu: Dpu, wire: Representor, guest: SmallGuest) -> None:
    before = {cause: dropped(dpu, cause) for cause in ("too_long", "link_down")}
    dpu.ip("link", "set", "up0", "mtu", "1000")
    until(lambda: dpu.uplinks()["p0"]["mtu"] == 1000)
    guest.net.send(frame(OUTSIDE, guest.net.mac, bytes(1100)))
    guest.net.send(frame(OUTSIDE, guest.net.mac, bytes(900)))
    assert len(wire.receive()) == 914
    assert dropped(dpu, "too_long") == before["too_long"] + 1
    dpu.ip("link", "set", "far0", "down")
    joined(dpu, False)
    guest.net.send(frame(OUTSIDE, guest.net.mac, b"nobody hears"))
    until(lambda: dropped(dpu, "link_down") == before["link_down"] + 1)
    dpu.ip("link", "set", "far0", "up")
    joined(dpu, True)
    assert wire.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ENETDOWN  # told once
    heard = frame(OUTSIDE, guest.net.mac, b"again")
    guest.net.send(heard)
    assert wire.receive() == heard


def test_interface_that_vanishes_while_used_is_named_and_joins_again(dpu: Dpu, device: Plugged) -> None:
    with SmallGuest(device) as guest:
        for _ in range(2):
            dpu.ip("link", "add", "up0", "type", "veth", "peer", "name", "far0")
            for name in ("up0", "far0"):
                dpu.ip("link", "set", name, "up")
            joined(dpu, True)
            with Representor(dpu.netns, "far0") as far:
                sent = frame(BROADCAST, guest.net.mac, b"hello")
                guest.net.send(sent)
                assert far.receive() == sent
            dpu.ip("link", "del", "up0")
            guest.net.send_batch([frame(BROADCAST, guest.net.mac, b"hello")] * 100)
            until(lambda: not dpu.uplinks())
            guest.net.send(frame(BROADCAST, guest.net.mac, b"hello"))
    assert "uplink p0: there is no interface up0" in dpu.log.read_text()
    assert not dpu.own_mistakes()


def test_uplink_outlives_its_controller(dpu: Dpu, wire: Representor, guest: SmallGuest) -> None:
    before = dpu.log.read_text().count("up0 has joined")
    dpu.kill_controller()
    meanwhile = frame(guest.device.mac, OUTSIDE, b"meanwhile")
    wire.send(meanwhile)
    dpu.start_controller()
    joined(dpu, True)
    assert guest.net.receive() == meanwhile
    assert dpu.log.read_text().count("up0 has joined") == before, "the datapath had it"
    sent = frame(OUTSIDE, guest.net.mac, b"still")
    guest.net.send(sent)
    assert wire.receive() == sent


def test_nothing_is_lost_without_a_cause(dpu: Dpu, wire: Representor, guest: SmallGuest) -> None:
    """A guest that does not drain, a flood both ways: the ledger closes for device and uplink."""
    for _ in range(30):
        guest.net.send_batch([frame(BROADCAST, guest.net.mac, bytes(1000))] * 64)
        for _ in range(64):
            wire.send(frame(guest.device.mac, OUTSIDE, bytes(1000)))
    until(lambda: closes(dpu))
    assert not dpu.own_mistakes()


def wanted(guest: SmallGuest, which: Callable[[bytes], bool]) -> bytes:
    """The next frame of a kind."""
    while not which(got := guest.net.receive()):
        pass
    return got


def checksum(data: bytes) -> int:
    total = sum(int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def icmp(message: bytes) -> bytes:
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def ipv4(payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, 1, 0, GUEST_IP, FAR_IP)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload
