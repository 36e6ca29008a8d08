"""Writes the Rust side of what controller and datapath share, from its declaration in Python.

``python -m softdpu.datapath.generate`` writes, ``--check`` only compares. The files are checked in, so that building
the datapath needs no Python.
"""

import argparse
import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from softdpu.datapath import counters, messages
from softdpu.net import backend
from softdpu.pci import description
from softdpu.virtio import effects, standing

CRATE = Path(__file__).parents[3] / "datapath" / "src"
COMMAND = "python -m softdpu.datapath.generate"
PLAIN = {int: "u64", bool: "bool", str: "String", bytes: "ByteBuf"}
MODULES = (description, backend, effects, standing, messages)  # later ones refer to earlier ones
FOR_TESTS = '#[allow(dead_code, reason = "for tests: the controller does the sums")]'
HEADING = "// Generated from src/softdpu/{} by `" + COMMAND + "`."


def files() -> dict[Path, str]:
    """The generated files, each with what must be in it."""
    sources = {"control/messages.rs": messages_source(), "counters/layout.rs": counters_source()}
    return {CRATE / name: "\n".join(lines) + "\n" for name, lines in sources.items()}


def messages_source() -> Iterator[str]:
    """The messages as serde types: a union of tagged structures is an enum that carries the tag."""
    yield HEADING.format("{pci/description,net/backend,virtio/effects,virtio/standing,datapath/messages}.py")
    yield from ("", "use serde::{Deserialize, Serialize};", "use serde_bytes::ByteBuf;", "")
    yield f"pub const PROTOCOL: u64 = {messages.PROTOCOL};"
    for alias, members in aliases(Literal).items():
        yield from choice_source(alias, members)
    for structure in structures():
        yield from structure_source(structure)
    for alias, members in aliases(UnionType).items():
        yield from union_source(alias, members)


def counters_source() -> Iterator[str]:
    """Where each counter lies: constants, and the columns of the two kinds of row."""
    yield HEADING.format("datapath/counters.py")
    yield from ("", "/// Function numbers are below this.", f"pub const FUNCTIONS: usize = {messages.FUNCTIONS};")
    yield from ("/// Uplinks have the numbers after those.", f"pub const UPLINKS: usize = {messages.UPLINKS};")
    yield from ("/// Counters in a row.", f"pub const ROW: usize = {counters.ROW};")
    yield from ("/// Queues that have a row of their own.", f"pub const QUEUES: usize = {counters.QUEUES};")
    yield from ("/// Of a port's row: the ISR bits as they are.", f"pub const ISR: usize = {counters.ISR};")
    yield f"pub const SLOT_ROWS: usize = {counters.SLOT_ROWS};"
    yield f"pub const SLOT_BYTES: usize = {counters.SLOT_BYTES};"
    yield from ("/// Workers have rows after the slots.", f"pub const WORKERS: usize = {counters.WORKERS};")
    rows = {
        "Function": counters.FUNCTION_COUNTERS,
        "Queue": counters.QUEUE_COUNTERS,
        "Worker": counters.WORKER_FIGURES,
    }
    for name, columns in rows.items():
        yield from ("", "#[derive(Clone, Copy, Debug, PartialEq, Eq)]")
        yield from block(f"pub enum {name}", (f"{camel(column)}," for column in columns))
    for name in ("CAME_IN", "COPIES", "WENT_OUT", "DROPS"):
        columns = getattr(counters, name)
        yield from ("", "/// See `softdpu.datapath.ledger`.", FOR_TESTS)
        yield from ("#[rustfmt::skip]", f"pub const {name}: [Function; {len(columns)}] = [")
        yield from (*(f"    Function::{camel(column)}," for column in columns), "];")
    drops = [camel(name) for name in counters.QUEUE_DROPS]
    yield from ("", "/// What a queue drops is a part of what its port does.", FOR_TESTS)
    yield from ("#[rustfmt::skip]", f"pub const QUEUE_DROPS: [(Function, Queue); {len(drops)}] = [")
    yield from (*(f"    (Function::{name}, Queue::{name})," for name in drops), "];")


def structures() -> list[type[msgspec.Struct]]:
    """The structures of all modules in their order, without the bases that only carry the tag."""
    return [
        value
        for module in MODULES
        for value in vars(module).values()
        if is_structure(value) and value.__module__ == module.__name__ and not value.__subclasses__()
    ]


def is_structure(value: object) -> bool:
    """Whether it is a message, an effect or a part of one."""
    return isinstance(value, type) and issubclass(value, msgspec.Struct)


def aliases(kind: object) -> dict[str, tuple[Any, ...]]:
    """The named unions or literals of all modules, each with its members."""
    values = [item for module in MODULES for item in vars(module).items()]
    return {name: get_args(value) for name, value in values if get_origin(value) is kind}


def structure_source(structure: type[msgspec.Struct]) -> Iterator[str]:
    """One structure, after the choices that only it has."""
    hints = get_type_hints(structure)
    for name, hint in hints.items():
        if get_origin(hint) is Literal and get_args(hint) not in aliases(Literal).values():
            yield from choice_source(structure.__name__ + camel(name), get_args(hint))
    yield ""
    yield from (f"/// {line}".rstrip().replace("``", "`") for line in (inspect.getdoc(structure) or "").splitlines())
    yield derive("Clone")
    fields = msgspec.structs.fields(structure)
    yield from block(f"pub struct {structure.__name__}", (field_source(structure, field, hints) for field in fields))


def field_source(structure: type[msgspec.Struct], field: Any, hints: dict[str, Any]) -> str:
    """One field. A default must be what Rust's ``Default`` gives, or an older peer would be read wrongly."""
    declaration = f"pub {field.name}: {rust_type(hints[field.name], structure.__name__ + camel(field.name))},"
    if field.default is msgspec.NODEFAULT:
        return declaration
    if field.default:
        raise ValueError(f"{structure.__name__}.{field.name}: only an empty default can be generated")
    return f"#[serde(default)]\n    {declaration}"


def rust_type(hint: Any, unnamed: str) -> str:
    """The Rust type of an annotation; ``unnamed`` is the name of a choice that has no alias."""
    for alias, members in (aliases(Literal) | aliases(UnionType)).items():
        if get_args(hint) == members:
            return alias
    if get_origin(hint) is Literal:
        return unnamed
    if get_origin(hint) is tuple:
        return f"Vec<{rust_type(get_args(hint)[0], unnamed)}>"
    if NoneType in get_args(hint):
        return f"Option<{rust_type(get_args(hint)[0], unnamed)}>"
    return PLAIN.get(hint) or str(hint.__name__)


def choice_source(name: str, values: tuple[str, ...]) -> Iterator[str]:
    """A choice of strings as an enum without fields."""
    yield from ("", derive("Clone", "Copy"))
    yield from block(f"pub enum {name}", (f'#[serde(rename = "{value}")]\n    {camel(value)},' for value in values))


def union_source(name: str, members: tuple[type[msgspec.Struct], ...]) -> Iterator[str]:
    """A union of tagged structures."""
    yield from ("", derive("Clone"), '#[serde(tag = "type")]')
    yield from block(f"pub enum {name}", (f"{member.__name__}({member.__name__})," for member in members))


def derive(*traits: str) -> str:
    """The attribute that every generated type has."""
    return f"#[derive({', '.join((*traits, 'Debug', 'PartialEq', 'Eq', 'Serialize', 'Deserialize'))})]"


def block(opening: str, lines: Iterable[str]) -> Iterator[str]:
    """A braced list, on one line when it is empty."""
    body = [f"    {line}" for line in lines]
    yield from (f"{opening} {{", *body, "}") if body else (f"{opening} {{}}",)


def camel(name: str) -> str:
    """``queue_fault`` as ``QueueFault``."""
    return "".join(part.capitalize() for part in name.split("_"))


def main() -> int:
    """Writes the files, or says which of them are stale."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    check = parser.parse_args().check
    stale = {path: text for path, text in files().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        if check:
            print(f"{path} is stale: run `{COMMAND}`", file=sys.stderr)
        else:
            path.write_text(text)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
