"""Details of JSON Schema that generators of clients need and msgspec leaves out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

_FORMATS: Final = {"number": "double", "integer": "int64"}
_VALUES: Final = frozenset({"default", "enum", "const", "example", "examples"})
_NULL: Final = {"type": "null"}
_ANY_OF_KINDS: Final = ("anyOf", "oneOf", "type", "enum", "$ref")  # {} is any value, also null


def add_details(node: Any) -> Any:
    """Return a part of an OpenAPI document, completed in four ways.

    Each number has a format, because Go's generator otherwise makes it 32 bits wide. Each array has
    `items`. Each enumeration of texts has a type. Each object without properties says that it can
    have any, because it has none in TypeScript otherwise.
    """
    if isinstance(node, list):
        return [add_details(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    made = {
        key: value if key in _VALUES and not isinstance(value, Mapping) else add_details(value)
        for key, value in node.items()
    }
    kind = made.get("type")
    if isinstance(kind, str) and kind in _FORMATS:
        made.setdefault("format", _FORMATS[kind])
    if kind == "array" and "prefixItems" not in made:
        made.setdefault("items", {})
    if kind == "object" and "properties" not in made:
        made.setdefault("additionalProperties", True)
    if isinstance(enum := made.get("enum"), list) and all(isinstance(v, str) for v in enum):
        made.setdefault("type", "string")
    if isinstance(enum, list) and len(enum) == 1:
        made["const"] = made.pop("enum")[0]
    return made


def let_null_mean_absent(component: dict[str, Any]) -> None:
    """Complete the schema of an object in requests: its optional members can be null.

    A default becomes a sentence, because TypeScript requires a member that has a default.
    """
    required = component.get("required", ())
    for name, member in component.get("properties", {}).items():
        default = member.pop("default", None)
        if name not in required:
            component["properties"][name] = _nullable(member, default)


def complete_response(component: dict[str, Any]) -> None:
    """Complete the schema of an object in responses: a member with a default is always sent."""
    for name, member in component.get("properties", {}).items():
        if "default" in member:
            del member["default"]
            component["required"].append(name)


def find_references(schemas: Iterable[Any], components: Mapping[str, Any]) -> set[str]:
    """Return the names of the components that the schemas refer to, directly or not."""
    names: set[str] = set()
    nodes = list(schemas)
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes += node
        elif isinstance(node, Mapping):
            nodes += node.values()
            name = str(node.get("$ref", "")).rpartition("/")[2]
            if name and name not in names:
                names.add(name)
                nodes.append(components[name])
    return names


def _nullable(schema: dict[str, Any], default: Any) -> dict[str, Any]:
    outside = {"description": schema.pop("description")} if "description" in schema else {}
    if default:
        sentence = f"`{default if isinstance(default, str) else json.dumps(default)}` by default."
        outside["description"] = f"{outside.get('description', '')} {sentence}".strip()
    if schema == _NULL or not any(kind in schema for kind in _ANY_OF_KINDS):
        return {**outside, **schema}
    choices = schema["anyOf"] if set(schema) == {"anyOf"} else [schema]
    return {**outside, "anyOf": [*(each for each in choices if each != _NULL), _NULL]}
