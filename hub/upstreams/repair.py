"""Reads an event field by field when it does not have the declared types.

An odd field costs only itself: it is converted where its meaning is clear, else left out. A field
for text or parts (content.py) accepts numbers, because some servers parse each token of the answer.
The rest of the event stays as the upstream sent it. JSON that only lenient parsers accept is read
as well: NaN and Infinity, which Python's servers send, and halves of split characters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import inspect

from hub.upstreams.surrogates import escape_surrogates, has_surrogates

_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**64 - 1
_BOOLS: Final = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class RepairedEvent(msgspec.Struct, frozen=True):
    """An event that the declared types accept.

    data: its JSON. odd_fields: the paths of the fields that were converted or left out. type: its
    field `type`, if there is one. is_readable: False for JSON that is no object. lost: whether a
    part that may hold the answer's text was left out.
    """

    data: str
    odd_fields: list[str]
    type: str
    is_readable: bool
    lost: bool


class _Float(float):
    """A number that remembers how it was written."""

    source: str


def repair_event(data: str, type_: type) -> RepairedEvent:
    """Return the event for the declared type of its data.

    Raise ValueError or RecursionError when the data is not JSON.
    """
    value = json.loads(data, parse_float=_read_float, parse_constant=lambda _: None)
    if has_surrogates(data):
        value = escape_surrogates(value)
    cleaner = _Cleaner()
    cleaned = next(cleaner.clean(value, _types_of(type_), ""), None)
    kind = cleaned.get("type") if isinstance(cleaned, dict) else None
    return RepairedEvent(
        data=json.dumps(cleaned, ensure_ascii=False),
        odd_fields=cleaner.odd_fields,
        type=kind if isinstance(kind, str) else "",
        is_readable=cleaned is not None,
        lost=cleaner.lost,
    )


def _read_float(source: str) -> _Float | None:
    number = _Float(source)
    number.source = source
    return number if math.isfinite(number) else None


@cache
def _types_of(type_: type) -> Sequence[inspect.Type]:
    return _members(inspect.type_info(type_))


def _members(node: inspect.Type) -> Sequence[inspect.Type]:
    return node.types if isinstance(node, inspect.UnionType) else (node,)


class _Cleaner:
    """Removes what the declared types do not allow. Values are yielded, or nothing is."""

    def __init__(self) -> None:
        self.odd_fields: list[str] = []
        self.lost = False

    def clean(self, value: Any, types: Sequence[inspect.Type], path: str) -> Iterator[Any]:
        """Yield the value if one of the types fits, its conversion if one is clear."""
        for node in types:
            match node:
                case inspect.AnyType():
                    yield value
                    return
                case inspect.StructType() if isinstance(value, dict):
                    yield self._clean_fields(value, node, path)
                    return
                case inspect.ListType() if isinstance(value, list):
                    members = _members(node.item_type)
                    yield [
                        cleaned
                        for n, each in enumerate(value)
                        for cleaned in self.clean(each, members, f"{path}.{n}")
                    ]
                    return
                case _ if _fits(value, node):
                    yield value
                    return
        if path:
            self.odd_fields.append(path.removeprefix("."))
        yield from self._convert(value, types, path)

    def _clean_fields(self, value: dict[str, Any], node: inspect.StructType, path: str) -> Any:
        fields = {field.encode_name: _members(field.type) for field in node.fields}
        return {
            name: cleaned
            for name, each in value.items()
            for cleaned in (
                self.clean(each, fields[name], f"{path}.{name}") if name in fields else (each,)
            )
        }

    def _convert(self, value: Any, types: Sequence[inspect.Type], path: str) -> Iterator[Any]:
        has_parts = any(isinstance(node, inspect.ListType) for node in types)
        for node in types:
            match node:
                case inspect.StrType() if has_parts and (value is True or _is_number(value)):
                    yield "true" if value is True else getattr(value, "source", str(value))
                    return
                case inspect.IntType() if (number := _read_int(value)) is not None:
                    yield number
                    return
                case inspect.BoolType() if str(value).lower() in _BOOLS:
                    yield _BOOLS[str(value).lower()]
                    return
                case inspect.ListType() if isinstance(value, dict) and value:
                    # one in place of many
                    yield from self.clean([value], (node,), path)
                    return
                case inspect.StructType() if isinstance(value, list) and len(value) == 1:
                    yield from self.clean(value[0], (node,), path)
                    return
        self.lost = self.lost or (bool(value) and any(_is_container(node) for node in types))


def _fits(value: Any, node: inspect.Type) -> bool:
    match node:
        case inspect.NoneType():
            return value is None
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            is_int = isinstance(value, int) and not isinstance(value, bool)
            return is_int and _MIN_INT <= value <= _MAX_INT
        case inspect.FloatType():
            return _is_number(value)
        case inspect.DictType():
            return isinstance(value, dict)
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_int(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value) if _MIN_INT <= value < _MAX_INT else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return None


def _is_container(node: inspect.Type) -> bool:
    if isinstance(node, inspect.ListType):
        return any(isinstance(each, inspect.StructType) for each in _members(node.item_type))
    return isinstance(node, inspect.StructType)
