"""One VF's driver, in a process of its own so that it can be killed: sends to both neighbours, checks what comes."""

import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

from softdpu.spec import pci, virtio_net
from softdpu.spec.virtio_pci import DRIVER_OK, NEEDS_RESET
from softdpu.testkit import (
    ALL_FEATURES,
    PACKED,
    Client,
    Driver,
    GuestMemory,
    LegacyDriver,
    ModernDriver,
    PciFunction,
    frame,
)
from softdpu.testkit.wire import RegionIndex
from tools.soak.flows import LEFT, RIGHT, Arrivals, Numbered, Ring, Table, Word, parse, payload

TICK: Final = 0.1  # s between two bursts
BURST: Final = 2  # frames to each neighbour
WINDOW: Final = 24  # frames of a flow that may be under way
PROBE: Final = 2.0  # s after which one more is sent nevertheless: if those before it were lost, it shows that
MOST: Final = 31  # with those
BUFFERS: Final = 128  # so many as two flows can have under way, and as many for this station's former life
MEMORY: Final = 1 << 20
HELLO: Final = Numbered(0, 0, 0)  # so that the switch knows where a station is; nobody takes it for his
PATIENCE: Final = 30.0  # s for a device to answer, and for a former VMM to be noticed as gone
LOOK: Final = 3.0  # s between two looks at one's own status

KINDS: Final[dict[str, tuple[type[Driver], dict[str, Any]]]] = {
    "legacy": (LegacyDriver, {}),
    "split": (ModernDriver, {}),
    "packed": (ModernDriver, {"wanted": ALL_FEATURES | PACKED}),
}


class Place(NamedTuple):
    """Where a station stands: a VF, how it is driven, and who its neighbours are."""

    number: int
    stations: int
    kind: str  # of KINDS
    vuid: str
    pf: int
    socket: Path
    mac: bytes
    neighbours: tuple[bytes, bytes]  # MAC addresses, LEFT and RIGHT


class Broken(Exception):
    """The device did to its driver what it must not."""


# ---- resets, each in the middle of whatever goes on


def _by_status(_vmm: Client, net: Driver) -> None:
    """What a driver does."""
    net.status = 0


def _by_function(vmm: Client, _net: Driver) -> None:
    """Function level reset, by the PCI Express capability."""
    found = PciFunction(vmm).capability(pci.CAP_ID_EXPRESS)
    assert found is not None, "every function has the PCI Express capability"
    at = found.offset + pci.EXPRESS.offset("device_control")
    vmm.write(RegionIndex.CONFIG, at, pci.DEVCTL_FLR.to_bytes(2, "little"))


def _by_vmm(vmm: Client, _net: Driver) -> None:
    """What a VMM does at a reboot: vfio-user RESET."""
    vmm.reset()


RESETS: Final = {"status": _by_status, "flr": _by_function, "vmm": _by_vmm}


class Station:
    """Drives one VF until told to leave. What it is told and tells goes over ``orders``."""

    def __init__(self, place: Place, table: Table, orders: Connection, born: int) -> None:
        self.place = place
        self.table = table
        self.orders = orders
        self.ring = Ring(place.stations)
        self.epochs = [0, 0]  # of the flows that it sends, LEFT and RIGHT; 0: closed
        self.arrivals = self._arrivals(born)
        self._sent = [0.0, 0.0]  # when, LEFT and RIGHT
        self.leaving = False

    def _arrivals(self, born: int) -> dict[int, Arrivals]:
        flows = (self.ring.incoming(self.place.number, side) for side in (LEFT, RIGHT))
        return {flow: Arrivals(self.table, flow, born) for flow in flows}

    def run(self) -> None:
        """Raises Broken, OutOfOrder, Disconnected and whatever else went wrong."""
        with ExitStack() as stack:
            vmm = stack.enter_context(_connected(self.place.socket))
            memory = stack.enter_context(GuestMemory(MEMORY))
            memory.map_into(vmm)
            while not self.leaving:
                memory.rewind()
                kind, options = KINDS[self.place.kind]
                with kind(vmm, memory, buffers=BUFFERS, **options) as net:
                    self._drive(vmm, net.start())

    def _drive(self, vmm: Client, net: Driver) -> None:
        """From DRIVER_OK until it is reset, or leaves."""
        if net.control(virtio_net.CTRL_RX, virtio_net.CTRL_RX_PROMISC, b"\0", PATIENCE) != virtio_net.OK:
            raise Broken("the device goes on to give its driver what is for others")
        net.drain(0.0)  # what was flooded until then has taken buffers
        net.send_batch([self._frame(side, HELLO) for side in (LEFT, RIGHT)])
        self.orders.send(("up",))
        looked = time.monotonic()
        while True:
            due = time.monotonic() + TICK
            if how := self._obey():
                return RESETS[how](vmm, net)
            if self.leaving:
                return net.stop()
            self._send(net)
            self._receive(net, due)
            if due - looked > LOOK:
                looked = due
                self._look(net)

    def _look(self, net: Driver) -> None:
        began, status = time.monotonic_ns(), net.status
        took = (time.monotonic_ns() - began) // 1000
        self.table.raise_to(self.ring.outgoing(self.place.number, LEFT), Word.LOOK, took)
        if not status & DRIVER_OK or status & NEEDS_RESET:
            raise Broken(f"the status of an undisturbed device is {status:#x}")

    def _obey(self) -> str:
        """Does what it was told; a reset is left to the caller."""
        while self.orders.poll():
            order, *details = self.orders.recv()  # EOFError: who gives the orders has died
            if order == "open":
                side, epoch = details
                self._open(side, epoch)
            elif order == "close":
                self.epochs = [0, 0]
            elif order == "leave":
                self.leaving = True
            elif order == "reset":
                how, born = details
                self.epochs, self.arrivals = [0, 0], self._arrivals(born)
                return str(how)
        return ""

    def _open(self, side: int, epoch: int) -> None:
        flow = self.ring.outgoing(self.place.number, side)
        self.epochs[side] = epoch
        self.table.set(flow, Word.SENT, 0)
        self.table.set(flow, Word.SENT_EPOCH, epoch)

    def _send(self, net: Driver) -> None:
        frames: list[bytes] = []
        for side in (LEFT, RIGHT):
            flow = self.ring.outgoing(self.place.number, side)
            if self.epochs[side]:
                first = self.table.get(flow, Word.SENT)
                numbers = range(first, first + self._room(flow, side))
                frames += [self._frame(side, Numbered(flow, self.epochs[side], number)) for number in numbers]
                self.table.set(flow, Word.SENT, numbers.stop)
                self.table.add(flow, Word.ALL_SENT, len(numbers))
        if frames:
            net.send_batch(frames, timeout=PATIENCE)

    def _room(self, flow: int, side: int) -> int:
        under_way, now = self.table.under_way(flow), time.monotonic()
        room = max(0, min(WINDOW - under_way, BURST))
        if not room and under_way < MOST and now - self._sent[side] > PROBE:
            room = 1
        if room:
            self._sent[side] = now
        return room

    def _frame(self, side: int, what: Numbered) -> bytes:
        return frame(self.place.neighbours[side], self.place.mac, payload(what))

    def _receive(self, net: Driver, due: float) -> None:
        while (remaining := due - time.monotonic()) > 0:
            try:
                data = net.receive(remaining)
            except TimeoutError:
                return
            if not data.startswith(self.place.mac):
                continue  # flooded just before the device was told to keep such away
            try:
                came = parse(data)
            except ValueError as changed:
                raise Broken(str(changed)) from changed
            if came == HELLO:
                continue
            if came.flow not in self.arrivals:
                raise Broken(f"a frame of flow {came.flow} came to station {self.place.number}")
            self.arrivals[came.flow].take(came, time.monotonic_ns() // 1000)


def _connected(path: Path) -> Client:
    """The VMM's connection, once the device has noticed that the former VMM has gone."""
    deadline = time.monotonic() + PATIENCE
    while True:
        vmm = Client(path, PATIENCE)
        try:
            vmm.negotiate()
        except (ConnectionError, EOFError):
            vmm.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return vmm


def main(place: Place, table: Path, orders: Connection, born: int) -> None:
    """A station's process: what went wrong is told, then it ends."""
    with Table(table, Ring(place.stations).flows) as numbers:
        try:
            Station(place, numbers, orders, born).run()
        except EOFError:
            return
        except Exception as mistake:
            orders.send(("failed", f"{type(mistake).__name__}: {mistake}"))
        else:
            orders.send(("left",))
