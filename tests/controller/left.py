"""What a DPU has at a moment: when something is refused, all of it must be as before."""

from pathlib import Path
from typing import Any, NamedTuple

from tests.dpu_under_test import Dpu, Reply


class Things(NamedTuple):
    """Everything that a device is made of."""

    devices: list[str]
    sockets: list[str]
    files: list[str]
    interfaces: list[str]
    datapath_descriptors: int


def things(dpu: Dpu) -> Things:
    """What there is now."""
    links = [line.split(":")[1].strip() for line in dpu.ip("-o", "link").splitlines()]
    return Things(
        [device["vuid"] for device in listing(dpu)["devices"]],
        _names(dpu.root / "run/virtnet"),
        _names(dpu.root / "opt/mellanox/mlnx_virtnet/recovery"),
        sorted(links),
        dpu.fds(),
    )


def listing(dpu: Dpu) -> Any:
    """``virtnet list``."""
    return dpu.virtnet("list").json


def refused(dpu: Dpu, *arguments: object) -> tuple[int, str]:
    """Run ``virtnet``; it must refuse with one sentence and leave everything as it was. Its errno and the sentence."""
    before = things(dpu)
    reply: Reply = dpu.virtnet(*arguments, check=False)
    assert things(dpu) == before
    assert reply.status == 1, reply
    answer = reply.json
    assert list(answer) == ["errno", "errstr"]
    assert answer["errno"] > 0
    assert "\n" not in answer["errstr"]
    assert answer["errstr"].rstrip().endswith((".", ")"))
    return answer["errno"], answer["errstr"]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
