"""The Rust side of the shared declarations is generated, and both sides mean the same by every message."""

import os
import shutil
import struct
import subprocess
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from softdpu.datapath import generate
from softdpu.datapath.messages import FromController, FromDatapath
from softdpu.virtio.effects import AnyEffect, StartQueue

ROOT = Path(__file__).parents[2]
MESSAGES = (*get_args(FromController), *get_args(FromDatapath))


def binary() -> str:
    """The datapath's program: named by the environment, built here, or installed."""
    built = ROOT / "target" / "release" / "softdpu-datapath"
    program = os.environ.get("SOFTDPU_DATAPATH") or (built if built.exists() else shutil.which("softdpu-datapath"))
    assert program, "softdpu-datapath is not there: build it with `cargo build --release`"
    return str(program)


def example(hint: Any, seed: int) -> Any:
    """A value of an annotated type, different for each seed, with numbers of every width."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = get_type_hints(hint)
        return hint(*(example(hints[name], seed + n) for n, name in enumerate(hint.__struct_fields__)))
    if get_origin(hint) is Literal:
        return get_args(hint)[seed % len(get_args(hint))]
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        kinds = get_args(AnyEffect) if inner == AnyEffect else (inner, inner)
        return tuple(example(kind, seed + n) for n, kind in enumerate(kinds))
    if isinstance(hint, UnionType) and NoneType not in get_args(hint):
        return example(get_args(hint)[seed % len(get_args(hint))], seed)
    if NoneType in get_args(hint):
        return None if seed % 2 else example(get_args(hint)[0], seed)
    values: dict[type, Any] = {
        int: (seed, 2**8 + seed, 2**16 + seed, 2**32 + seed, 2**64 - 1 - seed)[seed % 5],
        bool: bool(seed % 2),
        str: f"naïve {seed}",
        bytes: bytes(range(seed % 256)) * seed,
    }
    return values[hint]


def echo(packets: list[bytes]) -> list[bytes]:
    """Each packet as the datapath decodes it and encodes it again."""
    sent = b"".join(struct.pack("<I", len(packet)) + packet for packet in packets)
    run = subprocess.run([binary(), "--echo-messages"], input=sent, stdout=subprocess.PIPE, check=True, timeout=60)
    back, received = run.stdout, []
    while back:
        (length,) = struct.unpack_from("<I", back)
        received.append(back[4 : 4 + length])
        back = back[4 + length :]
    return received


def test_generated_files_are_fresh() -> None:
    stale = [path.name for path, text in generate.files().items() if path.read_text() != text]
    assert not stale, f"run `{generate.COMMAND}`"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_both_sides_mean_the_same(message: type[msgspec.Struct]) -> None:
    examples = [example(message, seed) for seed in range(20)]
    back = echo([msgspec.msgpack.encode(one) for one in examples])
    assert [msgspec.msgpack.decode(one, type=message) for one in back] == examples


def test_a_field_that_is_news_is_passed_over() -> None:
    """A controller may be newer than the datapath that it attaches to."""
    (back,) = echo([msgspec.msgpack.encode({"type": "Shutdown", "ticket": 7, "why": [1, {"a": b"b"}]})])
    assert msgspec.msgpack.decode(back) == {"type": "Shutdown", "ticket": 7}


def test_a_field_with_a_default_may_be_absent() -> None:
    """A controller may be older than the datapath that it attaches to."""
    start = msgspec.to_builtins(example(StartQueue, 3), builtin_types=(bytes,))
    start.pop("position")
    update = {"type": "Update", "ticket": 1, "function": 2, "state": b"", "effects": [start]}
    (back,) = echo([msgspec.msgpack.encode(update)])
    assert msgspec.msgpack.decode(back)["effects"] == [start | {"position": 0}]
