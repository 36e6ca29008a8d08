"""Moving a device over vfio-user: DEVICE_FEATURE, migration data, and what two VMMs do with them.

>>> with Client(here) as source, Client(there) as target:                       # doctest: +SKIP
...     source.negotiate(), target.negotiate()
...     with Move(source, memory, target) as move:
...         move.begin()                                # the device runs, and what it writes is logged
...         move.round()                                # and copied, as often as you like
...         move.stop()
...         driver.moved_to(target, move.finish())      # the device runs there, with the memory that came along
"""

import abc
from collections.abc import Iterator, Sequence
from typing import Final, Protocol, Self

from softdpu.spec.vfio import Can, State
from softdpu.testkit import wire
from softdpu.testkit.link import ProtocolBroken
from softdpu.testkit.memory import GuestMemory
from softdpu.testkit.wire import PAGE, Feature, FeatureFlag, Op

CHUNK: Final = 65536  # bytes of migration data asked for at a time
ENOUGH: Final = 1 << 26  # bytes of migration data that no network device has


class Reply(Protocol):
    """What a request returns."""

    @property
    def payload(self) -> bytes:
        """The reply without its header."""


class MigrationVerbs(abc.ABC):
    """What a ``Client`` can ask of a device that moves. A refusal raises RequestFailed, with the errno that came."""

    @abc.abstractmethod
    def request(self, command: int, payload: bytes = b"", fds: Sequence[int] = ()) -> Reply:
        """Send a request and wait for its reply."""

    # ---- features

    def device_feature(self, flags: int, data: bytes = b"", argsz: int | None = None) -> bytes:
        """Get, set or probe a feature: ``flags`` are its number and ``FeatureFlag``; the data of the reply.

        ``argsz`` is what the reply may have, heading included; without it, what the request has and 4096 bytes.
        """
        room = wire.DEVICE_FEATURE.size + len(data) + 4096 if argsz is None else argsz
        payload = self.request(Op.DEVICE_FEATURE, wire.DEVICE_FEATURE.pack(argsz=room, flags=flags) + data).payload
        echo = wire.DEVICE_FEATURE.unpack(payload)
        if echo["flags"] != flags:
            raise ProtocolBroken(f"a feature with the flags {flags:#x} was answered with {echo['flags']:#x}")
        return payload[wire.DEVICE_FEATURE.size :]

    def probe_feature(self, feature: int, flags: int = 0) -> None:
        """Return when the device has the feature and what ``flags`` (GET, SET) say of it."""
        self.device_feature(feature | FeatureFlag.PROBE | flags)

    def migration_states(self) -> Can:
        """Which states the device has."""
        reply = self.device_feature(Feature.MIGRATION | FeatureFlag.GET)
        return Can(wire.MIGRATION.unpack(reply)["flags"])

    # ---- states and data

    @property
    def migration_state(self) -> State:
        """The state that the device is in."""
        reply = self.device_feature(Feature.MIG_DEVICE_STATE | FeatureFlag.GET)
        return State(wire.MIG_DEVICE_STATE.unpack(reply)["device_state"])

    @migration_state.setter
    def migration_state(self, state: int) -> None:
        data = wire.MIG_DEVICE_STATE.pack(device_state=state)
        self.device_feature(Feature.MIG_DEVICE_STATE | FeatureFlag.SET, data)

    @property
    def migration_data_size(self) -> int:
        """About how many bytes there will be to read in STOP_COPY."""
        reply = self.device_feature(Feature.MIG_DATA_SIZE | FeatureFlag.GET)
        return wire.MIG_DATA_SIZE.unpack(reply)["stop_copy_length"]

    def migration_read(self, size: int = CHUNK) -> bytes:
        """The next bytes of migration data; fewer than ``size``: there are no more for now."""
        room = wire.MIG_DATA.size + size
        payload = self.request(Op.MIG_DATA_READ, wire.MIG_DATA.pack(argsz=room, size=size)).payload
        head, data = wire.MIG_DATA.unpack(payload), payload[wire.MIG_DATA.size :]
        if head != {"argsz": len(payload), "size": len(data)} or len(data) > size:
            raise ProtocolBroken(f"{size} bytes of migration data were asked for: {head}, {len(data)} bytes")
        return data

    def migration_read_all(self) -> bytes:
        """Migration data up to its end, in chunks. Raises ProtocolBroken when it does not end."""
        data = b""
        while len(chunk := self.migration_read()) == CHUNK:
            data += chunk
            if len(data) > ENOUGH:
                raise ProtocolBroken(f"migration data goes on after {len(data)} bytes")
        return data + chunk

    def migration_write(self, data: bytes) -> None:
        """Write migration data, in chunks."""
        for start in range(0, len(data), CHUNK):
            chunk = data[start : start + CHUNK]
            head = wire.MIG_DATA.pack(argsz=wire.MIG_DATA.size + len(chunk), size=len(chunk))
            self.request(Op.MIG_DATA_WRITE, head + chunk)

    # ---- what the device writes

    def start_dirty_log(self, ranges: Sequence[tuple[int, int]] = (), page_size: int = PAGE) -> int:
        """Log what the device writes in ranges (address, length), without any: everywhere. The page size it chose."""
        control = wire.DMA_LOGGING_START.pack(page_size=page_size, ranges=len(ranges))
        listed = b"".join(wire.DMA_LOGGING_RANGE.pack(address=start, length=length) for start, length in ranges)
        reply = self.device_feature(Feature.DMA_LOGGING_START | FeatureFlag.SET, control + listed)
        return wire.DMA_LOGGING_START.unpack(reply)["page_size"]

    def stop_dirty_log(self) -> None:
        """Log no more."""
        self.device_feature(Feature.DMA_LOGGING_STOP | FeatureFlag.SET)

    def dirty_log(self, address: int, length: int, page_size: int = PAGE) -> bytes:
        """What the device has written in a range since it was last asked: a bit a page, lowest first."""
        asked = wire.DMA_LOGGING_REPORT.pack(address=address, length=length, page_size=page_size)
        words = -(-length // page_size // 64) if page_size else 0
        room = wire.DEVICE_FEATURE.size + len(asked) + 8 * words
        reply = self.device_feature(Feature.DMA_LOGGING_REPORT | FeatureFlag.GET, asked, room)
        if reply[: len(asked)] != asked:
            raise ProtocolBroken("a report of dirty pages does not repeat what was asked for")
        return reply[len(asked) :]

    def dirty_pages(self, address: int, length: int) -> Iterator[int]:
        """The addresses of the pages that the device has written since it was last asked."""
        bits = int.from_bytes(self.dirty_log(address, length), "little")
        while bits:
            lowest = (bits & -bits).bit_length() - 1
            yield address + lowest * PAGE
            bits &= bits - 1


class Mover(Protocol):
    """A ``Client``: what a move needs of both ends."""

    migration_state: State

    def migration_read_all(self) -> bytes:
        """All migration data that there is."""

    def migration_write(self, data: bytes) -> None:
        """Write migration data."""

    def start_dirty_log(self) -> int:
        """Log what the device writes."""

    def stop_dirty_log(self) -> None:
        """Log no more."""

    def dirty_pages(self, address: int, length: int) -> Iterator[int]:
        """What the device has written."""

    def dma_map(self, fd: int | None, address: int, length: int, offset: int = 0, flags: int = ...) -> None:
        """Let the device reach memory."""

    def dma_unmap(self, address: int, length: int) -> None:
        """Take it back."""


class Move:
    """Moves a device and its guest's memory from one connection to another, as the two VMMs of a live migration do.

    Only what the device's log and the guest's own (``GuestMemory.start_log``) name is copied, so a page that neither
    names is missing there. From ``stop`` on until it has ``moved_to`` the other end, the driver does nothing.
    Left before its end, a move is called off: the device goes on where it was.
    """

    def __init__(self, source: Mover, memory: GuestMemory, target: Mover) -> None:
        self.source = source
        self.memory = memory
        self.target = target
        self.copy = memory.twin()
        self.finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.finished:
            self.call_off()

    def begin(self) -> None:
        """Log what is written, copy all of the memory, and see whether the other end takes such a device."""
        self.memory.start_log()
        self.source.start_dirty_log()
        self.copy.write(self.copy.base, self.memory.read(self.memory.base, self.memory.size))
        self.source.migration_state = State.PRE_COPY
        self.target.migration_state = State.RESUMING
        self.target.migration_write(self.source.migration_read_all())

    def round(self) -> int:
        """Copy the pages that were written since the last round; how many."""
        guest = self.memory.take_log()
        pages = guest | set(self.source.dirty_pages(self.memory.base, self.memory.size))
        for page in pages:
            self.copy.write(page, self.memory.read(page, PAGE))
        return len(pages)

    def stop(self) -> None:
        """Stop the device and copy what is left: memory, and the device's state."""
        self.source.migration_state = State.STOP_COPY
        self.round()
        self.copy.rewind(self.memory.mark())  # what is taken here is taken there
        self.target.migration_write(self.source.migration_read_all())

    def finish(self) -> GuestMemory:
        """Let the device go on at the other end; the memory that it has there."""
        self.copy.map_into(self.target)
        self.target.migration_state = State.RUNNING
        self.memory.stop_log()
        self.finished = True
        return self.copy

    def move(self, rounds: int = 1) -> GuestMemory:
        """All of it at once."""
        self.begin()
        for _ in range(rounds):
            self.round()
        self.stop()
        return self.finish()

    def call_off(self) -> None:
        """Let the device go on where it was."""
        self.memory.stop_log()
        self.source.migration_state = State.RUNNING
        self.source.stop_dirty_log()
        self.copy.close()
