"""Guests that never stop talking: each frame has its flow and its number, and is known wherever it turns up."""

import itertools
import struct
import threading
import time
from collections import Counter
from typing import Final, Self

from softdpu.testkit import Driver, frame

NUMBER: Final = struct.Struct(">IQ")  # flow, number
PAYLOAD: Final = 14
FLOW_SIZES: Final = (0, 100, 900)  # bytes beside the number, in turn
BATCH: Final = 3  # frames before a pause, so that receivers that are as slow keep up
PAUSE: Final = 0.002


class Flow:
    """Frames from one station to another: how many were sent, and which came."""

    def __init__(self, identity: int) -> None:
        self.identity = identity
        self.sent = 0
        self.received: list[int] = []

    def payload(self) -> bytes:
        """What the next frame carries."""
        number, self.sent = self.sent, self.sent + 1
        return NUMBER.pack(self.identity, number) + bytes(FLOW_SIZES[number % len(FLOW_SIZES)])

    @property
    def lost(self) -> int:
        """How many did not come."""
        return self.sent - len(set(self.received))

    @property
    def duplicates(self) -> list[int]:
        """Those that came more than once."""
        return [number for number in set(self.received) if self.received.count(number) > 1]

    @property
    def reordered(self) -> list[int]:
        """Those that came after a later one."""
        return [after for before, after in itertools.pairwise(self.received) if after <= before]


class Chatter(threading.Thread):
    """A driver that sends frames of its flows, and notes those that come. While ``still`` is held, it does nothing.

    ``says`` are (address, flow), in turn, each flow on the pair of its number; ``hears`` are flows.
    """

    def __init__(self, net: Driver, says: list[tuple[bytes, Flow]], hears: list[Flow]) -> None:
        super().__init__(daemon=True)
        self.net = net
        self.says = says
        self.hears = {flow.identity: flow for flow in hears}
        self.mac = net.mac
        self.heard: Counter[int] = Counter()  # frames, by pair
        self.still = threading.Lock()
        self.quiet = threading.Event()
        self.ended = threading.Event()
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def run(self) -> None:
        """Talks and listens until it is told to end."""
        try:
            while not self.ended.is_set():
                with self.still:
                    self.turn()
                time.sleep(PAUSE)
        except BaseException as error:
            self.error = error

    def turn(self) -> None:
        """Says a little, and hears what there is."""
        if not self.quiet.is_set():
            for address, flow in self.says:
                frames = [frame(address, self.mac, flow.payload()) for _ in range(BATCH)]
                self.net.send_batch(frames, pair=flow.identity % self.net.pairs)
        for pair in range(self.net.pairs):
            while self.net.rings[2 * pair].pending:
                self.hear(self.net.receive(0.5, pair))
                self.heard[pair] += 1

    def hear(self, frame: bytes) -> None:
        """Notes a frame of a flow; others are not for us to judge."""
        payload = frame[PAYLOAD : PAYLOAD + NUMBER.size]
        if frame[12:14] == b"\x88\xb5":
            identity, number = NUMBER.unpack(payload)
            self.hears[identity].received.append(number)
