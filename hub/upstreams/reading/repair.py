"""Reads an event field by field when it does not have the declared types.

An odd field costs only itself: it is converted where its meaning is clear, else left out. A field
for text or parts (content.py) accepts numbers, because some servers parse each token of the answer.
The rest of the event stays as the upstream sent it. JSON that only lenient parsers accept is read
as well: NaN and Infinity, which Python's servers send, raw tabs in texts, and halves of split
characters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import inspect

from hub.upstreams.reading.surrogates import escape_surrogates, has_surrogates

_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**64 - 1
_LEFT_OUT: Final = object()
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


_encode = msgspec.json.Encoder(enc_hook=float).encode  # a _Float becomes a plain number


def repair_event(data: str, type_: type) -> RepairedEvent:
    """Return the event for the declared type of its data.

    Raise ValueError or RecursionError when the data is not JSON.
    """
    value = json.loads(data, parse_float=_read_float, parse_constant=lambda _: None, strict=False)
    if has_surrogates(data):
        value = escape_surrogates(value)
    cleaner = _Cleaner()
    cleaned = cleaner.clean(value, _plan_of(type_), "")
    is_readable = cleaned is not _LEFT_OUT
    kind = cleaned.get("type") if isinstance(cleaned, dict) else None
    return RepairedEvent(
        data=_encode(cleaned if is_readable else None).decode(),
        odd_fields=cleaner.odd_fields,
        type=kind if isinstance(kind, str) else "",
        is_readable=is_readable,
        lost=cleaner.lost,
    )


def _read_float(source: str) -> _Float | None:
    number = _Float(source)
    number.source = source
    return number if math.isfinite(number) else None


class _Plan(msgspec.Struct, frozen=True):
    """What a declared type accepts.

    types: the Python types of values that are kept as they are. fields: those of an object, by
    name. items: the plan of the items of a list. is_text: whether a number is accepted as a text.
    """

    types: frozenset[type]
    fields: Mapping[str, _Plan] | None = None
    items: _Plan | None = None
    accepts_any: bool = False

    @property
    def is_text(self) -> bool:
        return str in self.types and self.items is not None

    @property
    def is_single(self) -> bool:
        """Whether the value is an object or a text, so that a list of one value stands for it."""
        return self.items is None and bool(self.fields or self.types & {dict, str})

    @property
    def is_container(self) -> bool:
        """Whether the value may hold the answer's text."""
        return self.fields is not None or (self.items is not None and self.items.fields is not None)


_TYPES: Final[Mapping[type[inspect.Type], Sequence[type]]] = {
    inspect.NoneType: (type(None),),
    inspect.StrType: (str,),
    inspect.BoolType: (bool,),
    inspect.IntType: (int,),
    inspect.FloatType: (int, _Float),
    inspect.DictType: (dict,),
}


@cache
def _plan_of(type_: type) -> _Plan:
    return _build_plan(inspect.type_info(type_))


def _build_plan(node: inspect.Type) -> _Plan:
    members = node.types if isinstance(node, inspect.UnionType) else (node,)
    structs = [each for each in members if isinstance(each, inspect.StructType)]
    lists = [each for each in members if isinstance(each, inspect.ListType)]
    return _Plan(
        types=frozenset(kind for each in members for kind in _TYPES.get(type(each), ())),
        fields={field.encode_name: _build_plan(field.type) for field in structs[0].fields}
        if structs
        else None,
        items=_build_plan(lists[0].item_type) if lists else None,
        accepts_any=any(isinstance(each, inspect.AnyType) for each in members),
    )


class _Cleaner:
    """Removes what the declared types do not allow."""

    def __init__(self) -> None:
        self.odd_fields: list[str] = []
        self.lost = False

    def clean(self, value: Any, plan: _Plan, path: str) -> Any:
        """Return the value if the plan accepts it, else its conversion, else `_LEFT_OUT`."""
        kind = type(value)
        if plan.accepts_any:
            return value
        if kind is dict and plan.fields is not None:
            return self._clean_fields(value, plan.fields, path)
        if kind is list and plan.items is not None:
            items = (self.clean(each, plan.items, f"{path}.{n}") for n, each in enumerate(value))
            return [each for each in items if each is not _LEFT_OUT]
        if kind in plan.types and (kind is not int or _MIN_INT <= value <= _MAX_INT):
            return value
        if path:
            self.odd_fields.append(path.removeprefix("."))
        return self._convert(value, plan, path)

    def _clean_fields(self, value: dict[str, Any], fields: Mapping[str, _Plan], path: str) -> Any:
        cleaned = {}
        for name, each in value.items():
            plan = fields.get(name)
            kept = each if plan is None else self.clean(each, plan, f"{path}.{name}")
            if kept is not _LEFT_OUT:
                cleaned[name] = kept
        return cleaned

    def _convert(self, value: Any, plan: _Plan, path: str) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if plan.is_text and (is_number or value is True):
            return "true" if value is True else getattr(value, "source", str(value))
        if int in plan.types and (number := _read_int(value)) is not None:
            return number
        if bool in plan.types and str(value).lower() in _BOOLS:
            return _BOOLS[str(value).lower()]
        if isinstance(value, dict) and value and plan.items is not None:  # one in place of many
            return self.clean([value], plan, path)
        if isinstance(value, list) and len(value) == 1 and plan.is_single:
            return self.clean(value[0], plan, path)
        if isinstance(value, str) and not plan.is_text and (parsed := _parse_container(value)):
            return self.clean(parsed, plan, path)
        self.lost = self.lost or (bool(value) and plan.is_container)
        return _LEFT_OUT


def _parse_container(text: str) -> Any:
    """Return the object or list that a text holds as JSON, None if it holds none."""
    try:
        return json.loads(text, strict=False) if text.lstrip().startswith(("{", "[")) else None
    except (ValueError, RecursionError):
        return None


def _read_int(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value) if _MIN_INT <= value < _MAX_INT else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return None
