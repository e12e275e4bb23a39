"""JSON Patch (RFC 6902): changes of a JSON document."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Final

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")


class PatchError(ValueError):
    """The patch does not fit the document."""


def apply_patch(document: Any, operations: Sequence[Any]) -> Any:
    """Return the document after the operations; the given one does not change.

    Raise PatchError for an operation that is malformed, or that the document does not allow. Then
    none of the operations counts.
    """
    document = deepcopy(document)
    for operation in operations:
        if not isinstance(operation, Mapping):
            raise PatchError("an operation must be an object")
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: Mapping[str, Any]) -> Any:
    path = _parse_pointer(operation.get("path"))
    match operation.get("op"):
        case "add":
            return _add(document, path, _value_of(operation))
        case "remove":
            return _remove(document, path)
        case "replace":
            _get(document, path)
            return _set(document, path, _value_of(operation))
        case "move":
            source = _parse_pointer(operation.get("from"))
            if path[: len(source)] == source and path != source:
                raise PatchError("a value cannot move into itself")
            value = _get(document, source)
            return _add(_remove(document, source), path, value)
        case "copy":
            value = deepcopy(_get(document, _parse_pointer(operation.get("from"))))
            return _add(document, path, value)
        case "test":
            if _get(document, path) != _value_of(operation):
                raise PatchError("a tested value is another one")
            return document
        case _:
            raise PatchError("an operation is unknown")


def _value_of(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError("an operation has no value")
    return operation["value"]


def _parse_pointer(pointer: Any) -> list[str]:
    """Return the tokens of a JSON Pointer (RFC 6901)."""
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise PatchError("a path is no JSON Pointer")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _get(document: Any, path: Sequence[str]) -> Any:
    for token in path:
        if isinstance(document, dict) and token in document:
            document = document[token]
        elif isinstance(document, list):
            document = document[_index(token, len(document))]
        else:
            raise PatchError("a path does not exist")
    return document


def _index(name: str, end: int) -> int:
    """Return the index that a token of a pointer names, which is below `end`."""
    if _INDEX.fullmatch(name) is None or int(name) >= end:
        raise PatchError("an index is not in the list")
    return int(name)


def _add(document: Any, path: Sequence[str], value: Any) -> Any:
    if path and isinstance(parent := _get(document, path[:-1]), list):
        is_end = path[-1] == "-"
        index = len(parent) if is_end else _index(path[-1], len(parent) + 1)
        parent.insert(index, value)
        return document
    return _set(document, path, value)


def _set(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif isinstance(parent, list):
        parent[_index(path[-1], len(parent))] = value
    else:
        raise PatchError("a path does not exist")
    return document


def _remove(document: Any, path: Sequence[str]) -> Any:
    _get(document, path)
    if not path:
        return None
    parent = _get(document, path[:-1])
    if isinstance(parent, dict):
        del parent[path[-1]]
    else:
        del parent[_index(path[-1], len(parent))]
    return document
