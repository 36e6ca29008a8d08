"""MSI-X vectors and queue pairs that the VFs of a PF share: what one gives up, another can have. Pure.

Each VF comes with as many as the firmware says. One that is made smaller leaves the difference in its PF's pool.
"""

import errno
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from softdpu.controller.errors import OperatorError
from softdpu.net.features import pairs
from softdpu.net.state import FunctionConfig
from softdpu.pci.sriov import MOST_VECTORS
from softdpu.spec.virtio_net import MAX_PAIRS


class Share(NamedTuple):
    """What a VF has, or what is left."""

    vectors: int
    pairs: int


LEAST = Share(2, 1)  # a vector for configuration changes, one for all queues
MOST = Share(MOST_VECTORS, MAX_PAIRS)


def pairs_of(vectors: int) -> int:
    """Queue pairs whose queues each have a vector, beside the control queue and configuration changes."""
    return max(LEAST.pairs, min((vectors - 2) // 2, MOST.pairs))


def queues_of(number: int) -> int:
    """Virtqueues of a VF with so many pairs: a control queue too."""
    return 2 * number + 1


def share_of(config: FunctionConfig) -> Share:
    """What a VF has."""
    return Share(config.vectors, pairs(config))


def left(default: Share, members: Sequence[FunctionConfig]) -> Share:
    """What the VFs of a PF have given up in all; below 0 of what was enlarged before the firmware allowed less."""
    shares = [share_of(member) for member in members]
    return Share(*(sum(base - share[i] for share in shares) for i, base in enumerate(default)))


def changed(name: str, config: FunctionConfig, free: Share, vectors: int | None, number: int | None) -> FunctionConfig:
    """The VF with other shares; queue pairs follow the vectors where none are asked for. Raises OperatorError."""
    now = share_of(config)
    vectors = now.vectors if vectors is None else vectors
    _check(name, "MSI-X vectors (-n)", vectors, LEAST.vectors, MOST.vectors, now.vectors, free.vectors)
    if number is None:
        number = min(pairs_of(vectors), max(now.pairs, now.pairs + free.pairs))
    _check(name, "queue pairs (-qp)", number, LEAST.pairs, MOST.pairs, now.pairs, free.pairs)
    return msgspec.structs.replace(config, vectors=vectors, queues=queues_of(number))


def _check(name: str, what: str, asked: int, least: int, most: int, now: int, free: int) -> None:
    if not least <= asked <= most:
        raise OperatorError(errno.EINVAL, f"{asked} {what} are not accepted for {name}: a VF has {least} to {most}.")
    if asked - now > max(free, 0):
        raise OperatorError(
            errno.ENOSPC,
            f"{name} cannot have {asked} {what}: it has {now}, and the pool of its PF has {max(free, 0)} left. Give "
            "another VF of that PF fewer first, which puts the difference into the pool.",
        )
