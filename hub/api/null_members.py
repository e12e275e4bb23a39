"""JSON objects without the members that mean nothing because they are null.

Many JSON writers (Jackson, Go's encoding/json) write null for an optional field that has no value.
So null means absent for every optional field of a Struct, at every depth. Null stays where it is a
value: in required fields, in lists, and in free-form objects such as `params` and `metadata`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from msgspec import Raw, inspect

_type_info = cache(inspect.type_info)


def drop_nulls(value: Any, model: Any) -> Any:
    """Return JSON without null in the optional fields of the model.

    value: decoded JSON, or Raw. In Raw only the objects and lists that can hold a Struct are
    decoded, and the others stay Raw, so that no number changes. Raise msgspec.DecodeError for text
    that is not JSON.
    """
    return _drop(value, _type_info(model))


def drop_null_members(value: dict[str, Any]) -> dict[str, Any]:
    """Return an object without the members that are null, for objects that no Struct describes."""
    return {name: member for name, member in value.items() if member is not None}


def _drop(value: Any, type_: inspect.Type) -> Any:
    match type_:
        case inspect.Metadata():
            return _drop(value, type_.type)
        case inspect.UnionType():
            for each in type_.types:
                value = _drop(value, each)
        case inspect.ListType() | inspect.VarTupleType():
            value = _open(value, list)
            if isinstance(value, list):
                return [_drop(item, type_.item_type) for item in value]
        case inspect.StructType():
            value = _open(value, dict)
            if isinstance(value, dict):
                return _drop_from_object(value, type_)
    return value


def _drop_from_object(value: dict[str, Any], type_: inspect.StructType) -> dict[str, Any]:
    fields = {field.encode_name: field for field in type_.fields}
    kept = {}
    for name, member in value.items():
        field = fields.get(name)
        if field is None:
            kept[name] = member
        elif field.required or not _is_null(member):
            kept[name] = _drop(member, field.type)
    return kept


def _open(value: Any, kind: type[list[Any] | dict[str, Any]]) -> Any:
    """Decode one level of Raw, if it is of this kind."""
    if not isinstance(value, Raw):
        return value
    opening = b"[" if kind is list else b"{"
    if not bytes(value).lstrip().startswith(opening):
        return value
    return msgspec.json.decode(value, type=list[Raw] if kind is list else dict[str, Raw])


def _is_null(member: Any) -> bool:
    return member is None or (isinstance(member, Raw) and bytes(member) == b"null")
