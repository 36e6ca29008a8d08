"""Finds what decoding passes over: fields that a newer program has put into a structure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect


def unknown_field(plain: object, kind: type[msgspec.Struct]) -> str:
    """The path of a field of ``plain`` (maps and lists, as a ``kind`` was decoded of) that ``kind`` lacks; or nothing.

    >>> unknown_field({"total": 4, "offset": 1, "tables": [7]}, Sriov)          # doctest: +SKIP
    'tables'
    """
    return _within(plain, _type(kind)).removeprefix(".")


@cache
def _type(kind: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(kind)


def _within(plain: Any, kind: inspect.Type) -> str:
    match kind:
        case inspect.StructType() if isinstance(plain, dict):
            return _in_structure(plain, kind)
        case inspect.DictType() if isinstance(plain, dict):
            return _first((f"[{key}]", value, kind.value_type) for key, value in plain.items())
        case inspect.VarTupleType() | inspect.ListType() if isinstance(plain, list):
            return _first((f"[{index}]", value, kind.item_type) for index, value in enumerate(plain))
        case inspect.UnionType():
            return next((found for each in kind.types if (found := _within(plain, each))), "")
    return ""


def _in_structure(plain: dict[str, Any], kind: inspect.StructType) -> str:
    fields = {field.encode_name: field.type for field in kind.fields}
    strange = [name for name in plain if name not in fields and name != kind.tag_field]
    if strange:
        return f".{strange[0]}"
    return _first((f".{name}", value, fields[name]) for name, value in plain.items() if name in fields)


def _first(parts: Iterable[tuple[str, Any, inspect.Type]]) -> str:
    return next((name + found for name, value, kind in parts if (found := _within(value, kind))), "")
