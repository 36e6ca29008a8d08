"""How a function meets its VMM: each row of the table, and what cannot be forced."""

from typing import Any

import msgspec
import pytest

from softdpu.controller.errors import OperatorError
from softdpu.controller.export import TABLE, Situation, choose
from softdpu.host.interface import Abilities
from softdpu.net.state import FunctionConfig
from softdpu.spec import features as f

CONFIG = FunctionConfig(layout="transitional", mac=bytes.fromhex("0cc47aff2293"), queue_size=256, vectors=4)
TRAPPED = Abilities("11.1.3", vfio_user=True, unplug_aborts=True)
OLD = Abilities("7.2.22", vfio_user=False, unplug_aborts=False)
SOUND = Abilities("12.0.0", vfio_user=True, unplug_aborts=False)


def situation(
    host: Abilities | None = TRAPPED, kind: Any = "hotplug PF", wish: Any = "auto", **config: Any
) -> Situation:
    changed = msgspec.structs.replace(CONFIG, **config)
    return Situation(kind=kind, config=changed, wish=wish, wished_by="--export", host=host)


@pytest.mark.parametrize(
    ("given", "export", "reason"),
    [
        (situation(TRAPPED), "vhost-user", "aborts when a vfio-user device with MSI-X is unplugged"),
        (situation(TRAPPED, vectors=0), "vfio-user", "can have, and unplug"),
        (situation(OLD), "vhost-user", "QEMU 7.2.22 has no vfio-user-pci device"),
        (situation(SOUND), "vfio-user", "QEMU 12.0.0 can have, and unplug"),
        (situation(None), "vfio-user", "no host is attached"),
        (situation(TRAPPED, kind="static PF"), "vfio-user", "static PF"),
        (situation(TRAPPED, kind="VF"), "vfio-user", "admin virtqueue"),
        (situation(TRAPPED, queue_size=4096), "vfio-user", "lacks a ring size of 4096"),
        (situation(TRAPPED, features=1 << f.ACCESS_PLATFORM), "vfio-user", "lacks VIRTIO_F_ACCESS_PLATFORM"),
        (situation(TRAPPED, wish="vfio-user"), "vfio-user", "--export says so"),
        (situation(None, wish="vhost-user"), "vhost-user", "--export says so"),
    ],
)
def test_choice(given: Situation, export: str, reason: str) -> None:
    chosen, why = choose(given)
    assert chosen == export
    assert reason in why


def test_every_situation_has_a_row() -> None:
    assert TABLE[-1].when(situation())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (situation(wish="vhost-user", queue_size=128), "lacks a ring size of 128: leave it away .*256, 512, 1024"),
        (situation(OLD, features=1 << f.ACCESS_PLATFORM), "lacks VIRTIO_F_ACCESS_PLATFORM"),
        (situation(wish="vhost-user", kind="VF"), "a VF cannot be exported over vhost-user"),
    ],
)
def test_what_cannot_be_had_is_refused_in_words(given: Situation, sentence: str) -> None:
    with pytest.raises(OperatorError, match=sentence):
        choose(given)
