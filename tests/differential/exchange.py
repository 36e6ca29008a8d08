"""Runs a ring program between two vhost-user ports, whoever serves them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from softdpu.testkit import BROADCAST, FrontEnd, GuestMemory, VhostDriver, frame
from tests.differential.program import LONGEST, MACS, Frame, Layout, Program

PROBE = b"are you there"
Ports = tuple[Path, Path]


def run(ports: Ports, program: Program) -> list[list[bytes]]:
    """What each driver received, in order."""
    with _driver(ports[0], program.layouts[0]) as left, _driver(ports[1], program.layouts[1]) as right:
        drivers = (left, right)
        _warm_up(drivers)
        received: list[list[bytes]] = [[], []]
        for burst in program.bursts:
            for some in _fitting(burst, program):
                _exchange(drivers, some, received)
        for driver in drivers:
            driver.stop()
        return received


@contextmanager
def _driver(port: Path, layout: Layout) -> Iterator[VhostDriver]:
    with ExitStack() as stack:
        front = stack.enter_context(FrontEnd(port))
        memory = stack.enter_context(GuestMemory(8 << 20))
        front.negotiate()
        memory.map_into(front)
        net = VhostDriver(
            front,
            memory,
            interrupts=layout.interrupts,
            wanted=layout.wanted,
            queue_size=layout.size,
            buffers=layout.buffers,
            buffer_size=layout.room,
        )
        yield stack.enter_context(net).start()


def _warm_up(drivers: Sequence[VhostDriver]) -> None:
    """A port that has just been connected drops what comes, for a while."""
    for sender, receiver in ((0, 1), (1, 0)):
        deadline = time.monotonic() + 10
        while not _probe(drivers[sender], drivers[receiver], MACS[sender]):
            assert time.monotonic() < deadline, "no frame passes between the two ports"
    for driver in drivers:
        driver.drain()


def _probe(sender: VhostDriver, receiver: VhostDriver, mac: bytes) -> bool:
    sender.send(frame(BROADCAST, mac, PROBE))
    with suppress(TimeoutError):
        return PROBE in receiver.receive(0.05)
    return False


def _fitting(burst: Sequence[Frame], program: Program) -> Iterator[Sequence[Frame]]:
    """The burst in parts for which both drivers have buffers."""
    most = min(layout.burst(LONGEST) for layout in program.layouts)
    for start in range(0, len(burst), most):
        yield burst[start : start + most]


def _exchange(drivers: Sequence[VhostDriver], frames: Sequence[Frame], received: list[list[bytes]]) -> None:
    for one in frames:
        drivers[one.sender].transmitters[0].add(one.content, one.pieces, 5.0)
    for driver in drivers:
        driver.transmitters[0].flush()
    for one in frames:
        received[1 - one.sender].append(drivers[1 - one.sender].receive(5.0))
