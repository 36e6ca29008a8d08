"""Several worker threads: whoever serves a queue, frames come whole, in their order, and each is accounted for."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from softdpu.datapath import ledger
from softdpu.testkit import BROADCAST, LegacyDriver, ModernDriver, frame
from tests.dpu_under_test import Dpu
from tests.small_guest import SmallGuest

CORES = sorted(os.sched_getaffinity(0))[:2]
STRANGER = bytes.fromhex("02000000beef")
ROUNDS = 40
BURST = 16


@pytest.fixture
def dpu() -> Iterator[Dpu]:
    dpu = Dpu()
    conf = dpu.root / "opt/mellanox/mlnx_virtnet/virtnet.conf"
    conf.parent.mkdir(parents=True, exist_ok=True)
    conf.write_text(json.dumps({"worker_cores": ",".join(map(str, CORES))}))
    with dpu:
        yield dpu
        assert dpu.own_mistakes() == []


def workers(dpu: Dpu) -> list[set[int]]:
    """The cores that each worker thread may run on."""
    tasks = Path(f"/proc/{dpu.datapath_pid}/task").iterdir()
    return [os.sched_getaffinity(int(task.name)) for task in tasks if (task / "comm").read_text().strip() == "worker"]


def numbered(to: bytes, source: bytes, number: int) -> bytes:
    return frame(to, source, number.to_bytes(4, "big") + bytes(60 + number % 1000))


def numbers(frames: list[bytes], source: bytes) -> list[int]:
    return [int.from_bytes(one[14:18], "big") for one in frames if one[6:12] == source]


def introduce(guests: list[SmallGuest]) -> None:
    """Each is heard by all others, so what is sent to it from now on reaches nobody else."""
    for guest in guests:
        guest.net.send(frame(BROADCAST, guest.net.mac, b"here I am"))
    for guest in guests:
        assert len([guest.net.receive(10) for _ in guests[1:]]) == 3


def test_health_shows_what_each_worker_does(dpu: Dpu) -> None:
    """Queues and representors are shared out; who moves frames is busy, and who moves none is not."""
    with SmallGuest(dpu.hotplug()) as one, SmallGuest(dpu.hotplug()) as other:
        introduced = frame(BROADCAST, other.net.mac, b"here I am")
        other.net.send(introduced)
        assert one.net.receive(10) == introduced
        quiet = dpu.virtnet("health").json["workers"]
        assert [worker["core"] for worker in quiet] == CORES
        assert sum(worker["ports"] for worker in quiet) == 2
        assert sum(worker["queues"] for worker in quiet) == len(one.net.rings) + len(other.net.rings)
        done = threading.Event()
        talk = threading.Thread(target=lambda: babble(one, other.net.mac, done))
        talk.start()
        loud = dpu.virtnet("health").json["workers"]
        done.set()
        talk.join()
        assert max(worker["busy_percent"] for worker in loud) > max(worker["busy_percent"] for worker in quiet)


def babble(guest: SmallGuest, to: bytes, done: threading.Event) -> None:
    while not done.is_set():
        guest.net.send_batch([frame(to, guest.net.mac, bytes(1400))] * BURST, timeout=30)


def test_four_guests_talk_over_two_workers(dpu: Dpu) -> None:
    """In a ring, and with the outside, while the controller is killed and comes back."""
    kinds = (ModernDriver, LegacyDriver, ModernDriver, LegacyDriver)
    with ExitStack() as stack:
        guests = [stack.enter_context(SmallGuest(dpu.hotplug(), kind)) for kind in kinds]
        outsides = [stack.enter_context(dpu.representor(guest.device)) for guest in guests]
        macs = [guest.net.mac for guest in guests]
        introduce(guests)
        came: list[list[bytes]] = [[] for _ in guests]
        restart = threading.Thread(target=dpu.restart_controller)
        restart.start()
        for turn in range(ROUNDS):
            for index, guest in enumerate(guests):
                to = macs[(index + 1) % len(guests)]
                batch = range(turn * BURST, (turn + 1) * BURST)
                guest.net.send_batch([numbered(to, macs[index], number) for number in batch])
                outsides[index].send(numbered(macs[index], STRANGER, turn))
            for guest, frames in zip(guests, came, strict=True):
                frames += [guest.net.receive(10) for _ in range(BURST + 1)]
        restart.join()
        for index, frames in enumerate(came):
            assert numbers(frames, macs[index - 1]) == list(range(ROUNDS * BURST))
            assert numbers(frames, STRANGER) == list(range(ROUNDS))
        assert workers(dpu) == [{core} for core in CORES]
        assert ledger.check(dpu.ledgers()) is None
        counted = [dpu.counters(guest.device)["received_frames"] for guest in guests]
        assert counted == [3 + ROUNDS * (BURST + 1)] * 4
