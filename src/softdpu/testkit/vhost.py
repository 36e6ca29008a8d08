"""A blocking vhost-user front end: plays the VMM, politely by name or rudely by ``send`` and ``receive``.

>>> with FrontEnd(socket_path) as vmm, GuestMemory() as memory:                 # doctest: +SKIP
...     vmm.negotiate()
...     memory.map_into(vmm)
...     with VhostDriver(vmm, memory).start() as net:
...         net.send(frame(BROADCAST, bytes(6), b"hello"))
"""

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from softdpu.testkit import vhost_wire as wire
from softdpu.testkit.link import Link, ProtocolBroken, RequestFailed
from softdpu.testkit.vhost_wire import Flag, Protocol, Request

USER: Final = 0x5000_0000_0000  # guest address 0 in our own address space, by which rings are named
USUAL: Final = (  # the protocol features that are taken unless told otherwise
    Protocol.MQ
    | Protocol.LOG_SHMFD
    | Protocol.REPLY_ACK
    | Protocol.BACKEND_REQ
    | Protocol.CONFIG
    | Protocol.INFLIGHT_SHMFD
    | Protocol.RESET_DEVICE
    | Protocol.CONFIGURE_MEM_SLOTS
    | Protocol.STATUS
    | Protocol.DEVICE_STATE
)


@dataclass(frozen=True)
class Message:
    """A message as received: header fields, payload, descriptors (owned by whoever holds the message)."""

    request: int
    flags: int
    payload: bytes
    fds: tuple[int, ...]


@dataclass(frozen=True)
class Region:
    """A piece of guest memory that the back end was given: guest address, bytes, offset in the file, the file."""

    guest: int
    size: int
    offset: int
    fd: int

    def pack(self) -> bytes:
        """As the messages have it."""
        return wire.REGION.pack(guest=self.guest, size=self.size, user=user_address(self.guest), offset=self.offset)


@dataclass(frozen=True)
class Inflight:
    """The shared record of chains that the back end holds (§ Inflight I/O tracking of the protocol document)."""

    fd: int
    size: int
    offset: int
    queues: int
    queue_size: int


def user_address(guest: int) -> int:
    """Our own address of guest memory, as SET_VRING_ADDR has it; it need not be mapped there."""
    return USER + guest & (1 << 64) - 1


class Channel(Link):
    """Messages of vhost-user, either way."""

    def send(
        self,
        request: int,
        payload: bytes = b"",
        fds: Sequence[int] = (),
        *,
        flags: int = wire.VERSION,
        size: int | None = None,
    ) -> None:
        """Send one message, for tests that break the rules: ``size`` lies about the length of its payload."""
        length = len(payload) if size is None else size
        self.send_bytes(wire.HEADER.pack(request=request, flags=flags, size=length) + payload, fds)

    def receive(self) -> Message:
        """The next message from the other end, whatever it is. Raises Disconnected, TimeoutError."""
        head, fds = self.receive_bytes(wire.HEADER.size)
        fields = wire.HEADER.unpack(head)
        payload, more = self.receive_bytes(fields["size"])
        return Message(fields["request"], fields["flags"], payload, fds + more)


class FrontEnd(Channel):
    """A connection to a vhost-user back end. Timeouts are seconds.

    With REPLY_ACK each command waits until the back end has said that it is done, and raises RequestFailed when it says
    that it failed. Without, an error is told by the end of the connection, if at all: ``settle`` waits for what was
    sent.
    """

    def __init__(self, where: Path | str | socket.socket, timeout: float = 5.0) -> None:
        super().__init__(where, timeout)
        self.features = 0  # offered
        self.protocol = Protocol(0)  # in force
        self.regions: dict[int, Region] = {}

    # ---- requests and commands

    def ask(self, request: int, payload: bytes = b"", fds: Sequence[int] = ()) -> Message:
        """Send a request that has an answer, and wait for it. Raises ProtocolBroken, Disconnected, TimeoutError."""
        self.send(request, payload, fds)
        return self._answer(request)

    def _answer(self, request: int) -> Message:
        reply = self.receive()
        if reply.request != request or reply.flags & 7 != wire.VERSION | Flag.REPLY:
            raise ProtocolBroken(f"expected the reply to request {request}, got {reply}")
        return reply

    def command(self, request: int, payload: bytes = b"", fds: Sequence[int] = ()) -> None:
        """Send a request that has no answer of its own. Raises RequestFailed (REPLY_ACK), and as ``ask``."""
        if not self.protocol & Protocol.REPLY_ACK:
            self.send(request, payload, fds)
            return
        self.send(request, payload, fds, flags=wire.VERSION | Flag.NEED_REPLY)
        reply = self._answer(request)
        if len(reply.payload) != wire.NUMBER.size:
            raise ProtocolBroken(f"an acknowledgement has 8 bytes, this one has {len(reply.payload)}")
        if reply.payload != bytes(wire.NUMBER.size):
            raise RequestFailed(errno.EINVAL, f"the back end answers {reply.payload.hex()}", f"vhost-user {request}")

    def number(self, request: int) -> int:
        """Ask for a 64-bit number."""
        return wire.NUMBER.unpack(self.ask(request).payload)["value"]

    def set_number(self, request: int, value: int, fds: Sequence[int] = ()) -> None:
        """Send a 64-bit number."""
        self.command(request, wire.NUMBER.pack(value=value), fds)

    def settle(self) -> None:
        """Wait until the back end has dealt with everything that was sent. Raises Disconnected when it hung up."""
        self.number(Request.GET_FEATURES)

    # ---- life

    def negotiate(self, protocol: int = USUAL) -> int:
        """What a VMM does first: features, protocol features (those ``protocol`` that are offered), ownership."""
        self.features = self.number(Request.GET_FEATURES)
        if self.features >> wire.PROTOCOL_FEATURES & 1:
            self.set_protocol(self.number(Request.GET_PROTOCOL_FEATURES) & protocol)
        self.command(Request.SET_OWNER)
        return self.features

    def set_protocol(self, features: int) -> None:
        """Choose the protocol features that are in force."""
        self.send(Request.SET_PROTOCOL_FEATURES, wire.NUMBER.pack(value=features))
        self.protocol = Protocol(features)

    def set_features(self, features: int) -> None:
        """Tell the driver's feature bits; that of the protocol features is added when they are in force."""
        own = 1 << wire.PROTOCOL_FEATURES if self.features >> wire.PROTOCOL_FEATURES & 1 else 0
        self.set_number(Request.SET_FEATURES, features | own)

    def reset(self) -> None:
        """Reset the device (RESET_DEVICE)."""
        self.command(Request.RESET_DEVICE)

    @property
    def status(self) -> int:
        """Device status, as the back end has it (STATUS)."""
        return self.number(Request.GET_STATUS)

    @status.setter
    def status(self, value: int) -> None:
        self.set_number(Request.SET_STATUS, value)

    # ---- memory

    def dma_map(self, fd: int | None, address: int, length: int, offset: int = 0, flags: int = 3) -> None:
        """Let the back end reach ``length`` bytes of ``fd`` at ``address``; it may always read and write."""
        if fd is None or flags != 3:
            raise ValueError("vhost-user shares memory by a descriptor, for reading and writing")
        region = Region(address, length, offset, fd)
        if self.protocol & Protocol.CONFIGURE_MEM_SLOTS:
            self.command(Request.ADD_MEM_REG, wire.MEM_REG.pack() + region.pack(), [fd])
            self.regions[address] = region
        else:
            self.set_memory([*self.regions.values(), region])

    def dma_unmap(self, address: int, length: int) -> None:
        """Take back a region; done, with REPLY_ACK, when the back end touches it no more."""
        region = self.regions.pop(address)
        assert region.size == length
        if self.protocol & Protocol.CONFIGURE_MEM_SLOTS:
            self.command(Request.REM_MEM_REG, wire.MEM_REG.pack() + region.pack())
        else:
            self.set_memory(list(self.regions.values()))

    def set_memory(self, regions: Sequence[Region]) -> None:
        """Replace all of guest memory (SET_MEM_TABLE)."""
        table = wire.MEM_TABLE.pack(count=len(regions)) + b"".join(region.pack() for region in regions)
        self.command(Request.SET_MEM_TABLE, table, [region.fd for region in regions])
        self.regions = {region.guest: region for region in regions}

    # ---- virtqueues

    @property
    def queues(self) -> int:
        """Virtqueues that the back end has (MQ)."""
        return self.number(Request.GET_QUEUE_NUM)

    def set_vring(self, request: int, index: int, value: int) -> None:
        """Set a number of a virtqueue: SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ENABLE."""
        self.command(request, wire.VRING_STATE.pack(index=index, value=value))

    def set_vring_addresses(
        self, index: int, descriptor: int, driver: int, device: int, log: int | None = None
    ) -> None:
        """Tell where a ring is, by guest addresses; ``log``: as what address writes to the device area are logged."""
        descriptor, driver, device = map(user_address, (descriptor, driver, device))
        addresses = {"descriptor": descriptor, "available": driver, "used": device}
        logged = {"flags": 1, "log": log} if log is not None else {}
        self.command(Request.SET_VRING_ADDR, wire.VRING_ADDR.pack(index=index, **addresses, **logged))

    def set_vring_fd(self, request: int, index: int, fd: int | None) -> None:
        """Give an eventfd, or none: SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR."""
        self.set_number(request, index | (wire.NO_FD if fd is None else 0), () if fd is None else (fd,))

    def vring_base(self, index: int) -> int:
        """Stop a virtqueue; where it stopped (GET_VRING_BASE)."""
        reply = self.ask(Request.GET_VRING_BASE, wire.VRING_STATE.pack(index=index))
        found = wire.VRING_STATE.unpack(reply.payload)
        if found["index"] != index:
            raise ProtocolBroken(f"asked where queue {index} stopped, told of {found['index']}")
        return found["value"]

    # ---- configuration (CONFIG)

    def config(self, offset: int, size: int) -> bytes:
        """Read the device configuration. Raises RequestFailed when the back end does not give it."""
        asked = wire.CONFIG.pack(offset=offset, size=size)
        payload = self.ask(Request.GET_CONFIG, asked + bytes(size)).payload
        if len(payload) != wire.CONFIG.size + size:
            raise RequestFailed(errno.EINVAL, f"the back end gives no {size} bytes of configuration at {offset}")
        return payload[wire.CONFIG.size :]

    def set_config(self, offset: int, data: bytes) -> None:
        """Write the device configuration."""
        self.command(Request.SET_CONFIG, wire.CONFIG.pack(offset=offset, size=len(data)) + data)

    # ---- what outlives a connection, and migration

    def inflight(self, queues: int, queue_size: int) -> Inflight:
        """Ask for a fresh record of what the back end holds (GET_INFLIGHT_FD); its descriptor is the caller's."""
        reply = self.ask(Request.GET_INFLIGHT_FD, wire.INFLIGHT.pack(queues=queues, queue_size=queue_size))
        if len(reply.fds) != 1:
            raise ProtocolBroken(f"a record of what is in flight comes with one descriptor, not {len(reply.fds)}")
        found = wire.INFLIGHT.unpack(reply.payload)
        return Inflight(reply.fds[0], found["size"], found["offset"], queues, queue_size)

    def set_inflight(self, record: Inflight) -> None:
        """Hand the record of an earlier connection over (SET_INFLIGHT_FD)."""
        payload = wire.INFLIGHT.pack(
            size=record.size, offset=record.offset, queues=record.queues, queue_size=record.queue_size
        )
        self.command(Request.SET_INFLIGHT_FD, payload, [record.fd])

    def set_log(self, fd: int, size: int, offset: int = 0) -> None:
        """Have writes into guest memory logged there, a bit a page, once LOG_ALL is among the features (LOG_SHMFD)."""
        self.ask(Request.SET_LOG_BASE, wire.LOG.pack(size=size, offset=offset), [fd])

    def listen(self, timeout: float = 5.0) -> "BackEndChannel":
        """Open the way for requests of the back end (BACKEND_REQ)."""
        ours, theirs = socket.socketpair()
        with theirs:
            self.command(Request.SET_BACKEND_REQ_FD, fds=[theirs.fileno()])
        return BackEndChannel(ours, timeout)


class BackEndChannel(Channel):
    """What the back end asks of the front end: ``receive`` a request, ``acknowledge`` it when it wants that."""

    def acknowledge(self, request: Message, result: int = 0) -> None:
        """Answer a request that has NEED_REPLY set."""
        self.send(request.request, wire.NUMBER.pack(value=result), flags=wire.VERSION | Flag.REPLY)
