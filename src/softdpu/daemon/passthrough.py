"""A VF that virtio_vfio_pci gives to a VM: the VM's messages go on to the VF, but for the registers that the driver
emulates, and BAR 0, whose accesses become administration commands of its PF."""

import contextlib
import errno
import logging
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from softdpu.host.simulated.virtio_vfio_pci import BAR_SIZE, Command, Emulated, Notify
from softdpu.testkit import wire
from softdpu.testkit.link import Disconnected, Link
from softdpu.testkit.wire import Flag, Irq, IrqSet, Op, RegionFlag, RegionIndex

log = logging.getLogger("softdpu.host.passthrough")
LONGEST = 16 << 20  # bytes of a message; a VM that says more breaks the protocol
KEPT = 4096  # accesses that the trace remembers
HANGING = 3600.0  # s that a side may stall in the middle of a message


class Owner(Protocol):
    """The PF's driver, for one member of its group. Each method raises OSError when the command failed."""

    def legacy_read(self, command: Command, size: int) -> bytes:
        """LEGACY_COMMON_CFG_READ or LEGACY_DEV_CFG_READ."""

    def legacy_write(self, command: Command, data: bytes) -> None:
        """LEGACY_COMMON_CFG_WRITE or LEGACY_DEV_CFG_WRITE."""

    def notify_place(self) -> tuple[int, int]:
        """BAR of the member, and offset in it, where Queue Notify goes."""


class Trace:
    """Accesses to BAR 0 and what became of each, the last ones."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT)

    def note(self, name: str, access: str, became: str) -> None:
        """An access of a VF, and what it became."""
        self._lines.append(f"{name}  {access:<32} {became}")

    def text(self) -> bytes:
        """A line an access."""
        return "".join(f"{line}\n" for line in list(self._lines)).encode()


class Passthrough:
    """Serves one VF at ``path``, to one VM at a time."""

    def __init__(self, name: str, path: Path, member: str, owner: Owner, trace: Trace) -> None:
        self.name = name
        self.member = member
        self.owner = owner
        self.trace = trace
        self.path = path
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._vm: socket.socket | None = None
        threading.Thread(target=self._serve, name=f"passthrough {name}", daemon=True).start()

    def close(self) -> None:
        """The driver lets go; a VM that has it loses it."""
        self.path.unlink(missing_ok=True)
        for end in filter(None, (self._listener, self._vm)):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self) -> None:
        while True:
            try:
                self._vm, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                with Link(self._vm, HANGING) as vm, Link(self.member, HANGING) as vf:
                    _Relay(self, vm, vf).run()
            except (Disconnected, TimeoutError, OSError) as end:
                log.info("%s: the VM has gone: %s", self.name, end)
            except ValueError as mistake:
                log.warning("%s: the VM broke the protocol: %s", self.name, mistake)


class _Relay:
    """One VM on a VF, until either hangs up."""

    def __init__(self, served: Passthrough, vm: Link, vf: Link) -> None:
        self.served = served
        self.vm = vm
        self.vf = vf
        self.emulated = Emulated()
        self._reads: dict[int, int] = {}  # offsets in configuration space, by the id of the message that reads

    def run(self) -> None:
        """Raises Disconnected, TimeoutError; ValueError for a message that cannot be."""
        poll = select.poll()  # select(2) knows no descriptor above 1023, and a host with many VFs has more
        for link in (self.vf, self.vm):
            poll.register(link.socket, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self.vf.socket.fileno() in ready:
                self._from_vf(*_message(self.vf))
            if self.vm.socket.fileno() in ready:
                self._from_vm(*_message(self.vm))

    def _from_vf(self, header: dict[str, int], payload: bytes, fds: Sequence[int]) -> None:
        reply = header["flags"] & 0xF == Flag.REPLY
        offset = self._reads.pop(header["message_id"], None) if reply else None
        if offset is not None and not header["flags"] & Flag.ERROR:
            size = wire.REGION_ACCESS.size
            payload = payload[:size] + self.emulated.read_config(offset, payload[size:])
        _pass_on(self.vm, header, payload, fds)

    def _from_vm(self, header: dict[str, int], payload: bytes, fds: Sequence[int]) -> None:
        if header["flags"] & 0xF == Flag.COMMAND and self._emulate(header, payload):
            _close(fds)
        else:
            _pass_on(self.vf, header, payload, fds)

    def _emulate(self, header: dict[str, int], payload: bytes) -> bool:
        """Whether the message was for the driver alone; what it has to see of others it looks at."""
        match header["command"]:
            case Op.REGION_READ | Op.REGION_WRITE if len(payload) >= wire.REGION_ACCESS.size:
                return self._access(header, payload)
            case Op.DEVICE_GET_REGION_INFO if len(payload) >= wire.REGION_INFO.size:
                return self._region_info(header, payload)
            case Op.DEVICE_SET_IRQS if len(payload) >= wire.IRQ_SET.size:
                self._irqs(wire.IRQ_SET.unpack(payload))
            case Op.DEVICE_RESET:
                self.emulated.reset()
        return False

    def _region_info(self, header: dict[str, int], payload: bytes) -> bool:
        if wire.REGION_INFO.unpack(payload)["index"] != RegionIndex.BAR0:
            return False
        info = wire.REGION_INFO.pack(
            argsz=wire.REGION_INFO.size, flags=RegionFlag.READ | RegionFlag.WRITE, length=BAR_SIZE
        )
        self._reply(header, info)
        return True

    def _irqs(self, asked: dict[str, int]) -> None:
        if asked["index"] == Irq.MSIX and asked["flags"] & IrqSet.TRIGGER:
            self.emulated.msix = asked["count"] > 0

    def _access(self, header: dict[str, int], payload: bytes) -> bool:
        place, data = wire.REGION_ACCESS.unpack(payload), payload[wire.REGION_ACCESS.size :]
        write = header["command"] == Op.REGION_WRITE
        if place["region"] == RegionIndex.BAR0:
            self._answer(header, payload[: wire.REGION_ACCESS.size], place, data if write else None)
            return True
        if place["region"] == RegionIndex.CONFIG and write:
            self.emulated.write_config(place["offset"], data)
        elif place["region"] == RegionIndex.CONFIG:
            self._reads[header["message_id"]] = place["offset"]
        return False

    def _answer(self, header: dict[str, int], place: bytes, at: dict[str, int], data: bytes | None) -> None:
        try:
            result = self._port(at["offset"], at["count"], data)
        except OSError as error:
            self._trace(at, data, f"refused: {error.strerror}")
            return self._reply(header, b"", error.errno or errno.EIO)
        return self._reply(header, place + result)

    def _port(self, offset: int, size: int, data: bytes | None) -> bytes:
        """An access to BAR 0; the bytes read."""
        at = {"offset": offset, "count": size}
        what = self.emulated.access(offset, size if data is None else len(data))
        if isinstance(what, Notify):
            return self._notify(at, size, data)
        area = "LEGACY_DEV_CFG" if what.configuration else "LEGACY_COMMON_CFG"
        if data is not None:
            self.served.owner.legacy_write(what, data)
            self._trace(at, data, f"{area}_WRITE offset {what.offset:#x}")
            return b""
        read = self.served.owner.legacy_read(what, size)
        self._trace(at, None, f"{area}_READ offset {what.offset:#x} = {read.hex()}")
        return read

    def _notify(self, at: dict[str, int], size: int, data: bytes | None) -> bytes:
        bar, offset = self.served.owner.notify_place()
        if data is None:
            return bytes(size)  # a register that is only written
        write = wire.REGION_ACCESS.pack(offset=offset, region=bar, count=len(data)) + data
        flags = Flag.COMMAND | Flag.NO_REPLY
        total = wire.HEADER.size + len(write)
        self.vf.send_bytes(wire.HEADER.pack(message_id=0, command=Op.REGION_WRITE, size=total, flags=flags) + write)
        self._trace(at, data, f"notify: BAR {bar} offset {offset:#x}")
        return b""

    def _reply(self, header: dict[str, int], payload: bytes, error: int = 0) -> None:
        if header["flags"] & Flag.NO_REPLY:
            return
        flags = Flag.REPLY | (Flag.ERROR if error else 0)
        answer = {**header, "flags": flags, "error": error, "size": wire.HEADER.size + len(payload)}
        self.vm.send_bytes(wire.HEADER.pack(**answer) + payload)

    def _trace(self, at: dict[str, int], data: bytes | None, became: str) -> None:
        direction = "read " if data is None else "write"
        value = "" if data is None else f" = {data.hex()}"
        self.served.trace.note(self.served.name, f"{direction} {at['offset']:#04x}+{at['count']}{value}", became)


def _message(link: Link) -> tuple[dict[str, int], bytes, tuple[int, ...]]:
    """The next message. Raises ValueError when it cannot be one."""
    head, fds = link.receive_bytes(wire.HEADER.size)
    header = wire.HEADER.unpack(head)
    if not wire.HEADER.size <= header["size"] <= LONGEST:
        _close(fds)
        raise ValueError(f"a message of {header['size']} bytes")
    try:
        payload, more = link.receive_bytes(header["size"] - wire.HEADER.size)
    except BaseException:
        _close(fds)
        raise
    return header, payload, (*fds, *more)


def _pass_on(to: Link, header: dict[str, int], payload: bytes, fds: Sequence[int]) -> None:
    header = {**header, "size": wire.HEADER.size + len(payload)}
    try:
        to.send_bytes(wire.HEADER.pack(**header) + payload, fds)
    finally:
        _close(fds)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
