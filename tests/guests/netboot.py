"""A network that a machine boots from: DHCP and TFTP at a representor, frame by frame, with no IP stack beneath."""

import contextlib
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from tests.dpu_under_test import Representor

MAC = bytes.fromhex("02000000aa01")
SERVER, CLIENT, EVERYBODY = bytes([10, 9, 0, 1]), bytes([10, 9, 0, 2]), bytes([255] * 4)
COOKIE, END = bytes.fromhex("63825363"), b"\xff"
ARP, IPV4, UDP = b"\x08\x06", b"\x08\x00", 17
RRQ, DATA, ACK, ERROR, OACK = 1, 3, 4, 5, 6


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data.ljust((len(data) + 1) // 2 * 2, b"\0")))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass
class Transfer:
    """A file on its way."""

    data: bytes
    block: int
    port: int


@dataclass
class Server:
    """Serves ``files`` by name: ``first`` is what firmware is told to load, ``script`` what iPXE is.

    Use as a context manager.
    """

    representor: Representor
    files: Mapping[str, bytes]
    first: str
    script: str
    done: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._transfers: dict[tuple[bytes, int], tuple[str, Transfer]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                self._frame(self.representor.receive(0.2))

    def _frame(self, frame: bytes) -> None:
        source, kind = frame[6:12], frame[12:14]
        if kind == ARP and frame[38:42] == SERVER:
            self._send(source, ARP, frame[14:20] + b"\0\2" + MAC + SERVER + frame[22:32])
        elif kind == IPV4 and frame[23] == UDP:
            datagram = frame[14 + (frame[14] & 15) * 4 :]
            port, to, length, told = struct.unpack_from(">HHHH", datagram)
            pseudo = frame[26:34] + struct.pack(">BBH", 0, UDP, length)
            if told and checksum(pseudo + datagram[:length]):
                self.wrong.append(f"a datagram to port {to} has a wrong checksum")
            self._datagram(source, frame[26:30], port, to, datagram[8:length])

    def _datagram(self, source: bytes, address: bytes, port: int, to: int, data: bytes) -> None:
        if to == 67:
            self._dhcp(source, data)
        elif to == 69:
            self._request(source, address, port, data)
        elif (source, port) in self._transfers and data[:2] == struct.pack(">H", ACK):
            self._block(source, address, port, struct.unpack_from(">H", data, 2)[0] + 1)

    def _dhcp(self, source: bytes, data: bytes) -> None:
        options, at = {}, 240
        while at < len(data) and data[at] != END[0]:
            options[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
            at += 2 + data[at + 1]
        kind = {1: 2, 3: 5}.get(options.get(53, b"\0")[0])  # DISCOVER: OFFER, REQUEST: ACK
        if kind is None:
            return
        name = (self.script if b"iPXE" in options.get(77, b"") else self.first).encode()
        told = {53: bytes([kind]), 54: SERVER, 51: b"\0\0\x0e\x10", 1: b"\xff\xff\xff\0", 3: SERVER, 66: b"10.9.0.1"}
        listed = b"".join(bytes([key, len(value)]) + value for key, value in {**told, 67: name}.items())
        head = b"\2\1\6\0" + data[4:12] + bytes(4) + CLIENT + SERVER + bytes(4) + data[28:44] + bytes(64)
        reply = head + name.ljust(128, b"\0") + COOKIE + listed + END
        broadcast = bool(data[10] & 0x80)
        self._udp(b"\xff" * 6 if broadcast else source, EVERYBODY if broadcast else CLIENT, 67, 68, reply)

    def _request(self, source: bytes, address: bytes, port: int, data: bytes) -> None:
        name, _, *pairs = data[2:].split(b"\0")
        wanted = dict(zip(pairs[::2], pairs[1::2], strict=False))
        content = self.files.get(name.decode().lstrip("/"))
        if content is None:
            return self._udp(source, address, 69, port, struct.pack(">HH", ERROR, 1) + b"no such file\0")
        transfer = Transfer(content, int(wanted.get(b"blksize", b"512")), 2000 + len(self._transfers))
        self._transfers[source, port] = name.decode(), transfer
        agreed = {b"tsize": b"%d" % len(content), b"blksize": wanted.get(b"blksize", b"")}
        taken = b"".join(key + b"\0" + agreed[key] + b"\0" for key in agreed if key in wanted)
        if not taken:
            return self._block(source, address, port, 1)
        return self._udp(source, address, transfer.port, port, struct.pack(">H", OACK) + taken)

    def _block(self, source: bytes, address: bytes, port: int, number: int) -> None:
        name, transfer = self._transfers[source, port]
        at = (number - 1) * transfer.block
        if at > len(transfer.data):
            self.done.append(name)
            return
        data = struct.pack(">HH", DATA, number) + transfer.data[at : at + transfer.block]
        self._udp(source, address, transfer.port, port, data)

    def _udp(self, to: bytes, address: bytes, port: int, to_port: int, data: bytes) -> None:
        datagram = struct.pack(">HHHH", port, to_port, 8 + len(data), 0) + data
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, UDP, 0) + SERVER + address
        self._send(to, IPV4, head[:10] + struct.pack(">H", checksum(head)) + head[12:] + datagram)

    def _send(self, to: bytes, kind: bytes, data: bytes) -> None:
        self.representor.send((to + MAC + kind + data).ljust(60, b"\0"))
