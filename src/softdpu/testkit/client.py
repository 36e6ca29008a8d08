"""A blocking vfio-user client: plays the VMM, politely by name or rudely by ``send`` and ``receive``.

>>> with Client(socket_path) as vmm:                                            # doctest: +SKIP
...     vmm.negotiate()
...     vmm.dma_map(memory.fd, address=memory.base, length=memory.size)
...     vendor = vmm.read(RegionIndex.CONFIG, 0, 2)
"""

import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softdpu.testkit import wire
from softdpu.testkit.link import MAX_FDS, Link, ProtocolBroken, RequestFailed
from softdpu.testkit.migration import MigrationVerbs
from softdpu.testkit.wire import Flag, IrqSet, MapFlag, Op

CAPABILITIES: Mapping[str, Any] = {
    "max_msg_fds": MAX_FDS,
    "max_data_xfer_size": 1 << 20,
    "pgsizes": wire.PAGE,
    "write_multiple": True,
}


@dataclass(frozen=True)
class Message:
    """A message as received: header fields, payload, descriptors (owned by whoever holds the message)."""

    message_id: int
    command: int
    flags: int
    error: int
    payload: bytes
    fds: tuple[int, ...]


class Client(MigrationVerbs, Link):
    """A connection to a vfio-user device. Timeouts are seconds; a request that is not answered in time raises
    TimeoutError, and the connection is of no use any more. What moves the device is in ``MigrationVerbs``.

    Requests by name may come from several threads, such as a guest's and its VMM's: they take turns."""

    def __init__(self, where: Path | str | socket.socket, timeout: float = 5.0) -> None:
        super().__init__(where, timeout)
        self._next_id = 1
        self._turn = threading.Lock()

    # ---- raw, for tests that break the rules

    def send(
        self,
        command: int,
        payload: bytes = b"",
        fds: Sequence[int] = (),
        *,
        flags: int = Flag.COMMAND,
        message_id: int | None = None,
        size: int | None = None,
        error: int = 0,
    ) -> int:
        """Send one message and return its id. ``size`` lies about the length of the message, header included."""
        identity = self._fresh_id() if message_id is None else message_id
        length = wire.HEADER.size + len(payload) if size is None else size
        header = wire.HEADER.pack(message_id=identity, command=command, size=length, flags=flags, error=error)
        self.send_bytes(header + payload, fds)
        return identity

    def receive(self) -> Message:
        """The next message from the device, whatever it is. Raises Disconnected, TimeoutError."""
        head, fds = self.receive_bytes(wire.HEADER.size)
        fields = wire.HEADER.unpack(head)
        payload, _ = self.receive_bytes(max(0, fields["size"] - wire.HEADER.size))
        return Message(fields["message_id"], fields["command"], fields["flags"], fields["error"], payload, fds)

    # ---- requests and replies

    def request(self, command: int, payload: bytes = b"", fds: Sequence[int] = ()) -> Message:
        """Send a request and wait for its reply. Raises RequestFailed, Disconnected, TimeoutError, ProtocolBroken."""
        with self._turn:
            return self.reply_to(command, self.send(command, payload, fds))

    def reply_to(self, command: int, message_id: int) -> Message:
        """The reply to a request sent before; it must be the next message (a device answers in order)."""
        reply = self.receive()
        if reply.flags & 0xF != Flag.REPLY or (reply.command, reply.message_id) != (command, message_id):
            raise ProtocolBroken(f"expected the reply to command {command}, message {message_id}, got {reply}")
        if reply.flags & Flag.ERROR:
            if reply.payload:
                raise ProtocolBroken(f"an error reply has no payload, this one has {len(reply.payload)} bytes")
            raise RequestFailed(reply.error, os.strerror(reply.error), f"vfio-user command {command}")
        return reply

    def _fresh_id(self) -> int:
        self._next_id = self._next_id % 0xFFFF + 1
        return self._next_id

    def negotiate(
        self, major: int = 0, minor: int = 1, capabilities: Mapping[str, Any] | None = CAPABILITIES
    ) -> dict[str, Any]:
        """Agree on a version; what the device answered: ``major``, ``minor``, ``capabilities``."""
        payload = wire.VERSION.pack(major=major, minor=minor)
        if capabilities is not None:
            payload += json.dumps({"capabilities": dict(capabilities)}).encode() + b"\0"
        reply = self.request(Op.VERSION, payload).payload
        text = reply[wire.VERSION.size :].rstrip(b"\0")
        answered = json.loads(text) if text else {}
        return {**wire.VERSION.unpack(reply), "capabilities": answered.get("capabilities", {})}

    def dma_map(
        self,
        fd: int | None,
        address: int,
        length: int,
        offset: int = 0,
        flags: int = MapFlag.READ | MapFlag.WRITE,
    ) -> None:
        """Let the device reach ``length`` bytes at ``address``: of ``fd`` from ``offset``, or by messages (None)."""
        payload = wire.DMA_MAP.pack(argsz=wire.DMA_MAP.size, flags=flags, offset=offset, address=address, length=length)
        self.request(Op.DMA_MAP, payload, () if fd is None else (fd,))

    def dma_unmap(self, address: int, length: int, flags: int = 0) -> None:
        """Take back what was mapped there; done when the device touches it no more."""
        payload = wire.DMA_UNMAP.pack(argsz=wire.DMA_UNMAP.size, flags=flags, address=address, length=length)
        self.request(Op.DMA_UNMAP, payload)

    def device_info(self, argsz: int = wire.DEVICE_INFO.size) -> dict[str, int]:
        """Flags, and how many regions and interrupt indices there are."""
        reply = self.request(Op.DEVICE_GET_INFO, wire.DEVICE_INFO.pack(argsz=argsz))
        return wire.DEVICE_INFO.unpack(reply.payload)

    def region_info(self, index: int, argsz: int = wire.REGION_INFO.size) -> dict[str, int]:
        """Size and flags of a region."""
        reply = self.request(Op.DEVICE_GET_REGION_INFO, wire.REGION_INFO.pack(argsz=argsz, index=index))
        return wire.REGION_INFO.unpack(reply.payload)

    def irq_info(self, index: int, argsz: int = wire.IRQ_INFO.size) -> dict[str, int]:
        """Count and flags of an interrupt index."""
        reply = self.request(Op.DEVICE_GET_IRQ_INFO, wire.IRQ_INFO.pack(argsz=argsz, index=index))
        return wire.IRQ_INFO.unpack(reply.payload)

    def set_irqs(
        self,
        index: int,
        flags: int,
        *,
        start: int = 0,
        count: int = 0,
        fds: Sequence[int] = (),
        booleans: bytes = b"",
    ) -> None:
        """Set what happens with interrupts ``start`` … of ``index``; ``flags`` are of ``IrqSet``."""
        argsz = wire.IRQ_SET.size + len(booleans)
        fixed = wire.IRQ_SET.pack(argsz=argsz, flags=flags, index=index, start=start, count=count)
        self.request(Op.DEVICE_SET_IRQS, fixed + booleans, fds)

    def assign_irqs(self, index: int, fds: Sequence[int], start: int = 0) -> None:
        """Have interrupts ``start`` … of ``index`` written to these eventfds."""
        self.set_irqs(index, IrqSet.DATA_EVENTFD | IrqSet.TRIGGER, start=start, count=len(fds), fds=fds)

    def disable_irqs(self, index: int) -> None:
        """Take all eventfds of ``index`` away."""
        self.set_irqs(index, IrqSet.DATA_NONE | IrqSet.TRIGGER)

    def unmask_irq(self, index: int, start: int = 0) -> None:
        """Let an interrupt that masked itself when it fired, fire again."""
        self.set_irqs(index, IrqSet.DATA_NONE | IrqSet.UNMASK, start=start, count=1)

    def read(self, region: int, offset: int, size: int) -> bytes:
        """Read ``size`` bytes of a region."""
        reply = self.request(Op.REGION_READ, wire.REGION_ACCESS.pack(offset=offset, region=region, count=size))
        echo, data = wire.REGION_ACCESS.unpack(reply.payload), reply.payload[wire.REGION_ACCESS.size :]
        if echo != {"offset": offset, "region": region, "count": size} or len(data) != size:
            raise ProtocolBroken(f"read of {size} bytes at {offset:#x} of region {region}: {echo}, {len(data)} bytes")
        return data

    def write(self, region: int, offset: int, data: bytes, posted: bool = False) -> None:
        """Write to a region; a posted write is not waited for, and never answered."""
        access = wire.REGION_ACCESS.pack(offset=offset, region=region, count=len(data)) + data
        if posted:
            with self._turn:
                self.send(Op.REGION_WRITE, access, flags=Flag.COMMAND | Flag.NO_REPLY)
            return
        echo = wire.REGION_ACCESS.unpack(self.request(Op.REGION_WRITE, access).payload)
        if echo != {"offset": offset, "region": region, "count": len(data)}:
            raise ProtocolBroken(f"write of {len(data)} bytes at {offset:#x} of region {region}: echoed {echo}")

    def write_multi(self, writes: Sequence[tuple[int, int, bytes]]) -> int:
        """Several writes of at most 8 bytes, each (region, offset, data), in one message; how many were done."""
        payload = wire.WRITE_MULTI.pack(count=len(writes)) + b"".join(single_write(*write) for write in writes)
        reply = self.request(Op.REGION_WRITE_MULTI, payload)
        return wire.WRITE_MULTI.unpack(reply.payload)["count"]

    def reset(self) -> None:
        """Reset the function, as a VMM does at power-on and reboot."""
        self.request(Op.DEVICE_RESET)


def single_write(region: int, offset: int, data: bytes) -> bytes:
    """One write of a REGION_WRITE_MULTI message."""
    number = int.from_bytes(data, "little")
    return wire.SINGLE_WRITE.pack(offset=offset, region=region, count=len(data), data=number)
