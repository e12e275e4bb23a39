"""The fields that a person fills at the terminal for the schema of an input, and their values.

A schema of an object with properties has one field for each of them, and any other schema has one
field. What has no field of its own, such as a list, is entered as JSON. The hub checks the value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

_YES: Final = frozenset({"y", "yes", "true", "1"})
_NO: Final = frozenset({"n", "no", "false", "0"})


class Choice(msgspec.Struct, frozen=True):
    """A value that can be chosen, and how it is shown."""

    label: str
    value: Any


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to enter.

    name: of the property, or None if the field is the whole value. kind: `text`, `integer`,
    `number`, `boolean`, `choice` or `json`. default: the value of an empty entry; with UNSET there
    is none.
    """

    name: str | None
    label: str
    hint: str = ""
    kind: str
    choices: Sequence[Choice] = ()
    is_required: bool = True
    is_nullable: bool = False
    default: Any = msgspec.UNSET


def list_fields(schema: Any) -> list[Field]:
    """Return the fields of a JSON Schema, or of an input without one (None)."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or not properties:
        return [_field(None, schema, is_required=True)]
    required = schema.get("required", ())
    return [_field(name, each, is_required=name in required) for name, each in properties.items()]


def choices_of(options: Sequence[str]) -> list[Choice]:
    """Return the options of an input as choices."""
    return [Choice(option, option) for option in options]


def parse_entry(field: Field, text: str) -> Any:
    """Return the value of what was entered, or UNSET if the field is left out.

    Raise ValueError with a sentence about what can be entered.
    """
    entered = text.strip()
    if not entered:
        return _empty_value(field)
    match field.kind:
        case "choice":
            return _choose(field.choices, entered)
        case "boolean":
            if entered.lower() not in _YES | _NO:
                raise ValueError("enter y or n")
            return entered.lower() in _YES
        case "integer" | "number" | "json":
            return _parse_json(field.kind, entered)
        case _:
            return text


def parse_flag(text: str, options: Sequence[str] | None, schema: Any) -> Any:
    """Return the value of `--input KEY=VALUE`: text, or JSON where the schema wants more."""
    if options is not None or schema is None or _types(schema) == ["string"]:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _field(name: str | None, schema: Any, *, is_required: bool) -> Field:
    schema = schema if isinstance(schema, dict) else {}
    types = _types(schema)
    choices = _choices(schema)
    return Field(
        name=name,
        label=str(schema.get("title") or name or "Your answer"),
        hint=str(schema.get("description", "")),
        kind="choice" if choices else _kind(schema, [each for each in types if each != "null"]),
        choices=choices,
        is_required=is_required,
        is_nullable="null" in types,
        default=schema.get("default", msgspec.UNSET),
    )


def _types(schema: Any) -> list[str]:
    types = schema.get("type", []) if isinstance(schema, dict) else []
    return [types] if isinstance(types, str) else list(types)


def _choices(schema: Mapping[str, Any]) -> list[Choice]:
    named = schema.get("oneOf") or schema.get("anyOf") or ()
    if named and all(isinstance(each, dict) and "const" in each for each in named):
        return [Choice(each.get("title") or _show(each["const"]), each["const"]) for each in named]
    values = [schema["const"]] if "const" in schema else schema.get("enum", ())
    return [Choice(_show(value), value) for value in values]


def _kind(schema: Mapping[str, Any], types: Sequence[str]) -> str:
    if "$ref" in schema or len(types) > 1 or types in (["object"], ["array"]):
        return "json"
    return {"string": "text"}.get(types[0], types[0]) if types else "text"


def _empty_value(field: Field) -> Any:
    if field.default is not msgspec.UNSET:
        return field.default
    if not field.is_required:
        return msgspec.UNSET
    if field.is_nullable:
        return None
    if field.kind == "text":
        return ""
    raise ValueError("a value is needed")


def _choose(choices: Sequence[Choice], entered: str) -> Any:
    for choice in choices:
        if entered == choice.label:
            return choice.value
    if entered.isdecimal() and 1 <= int(entered) <= len(choices):
        return choices[int(entered) - 1].value
    raise ValueError(f"enter a number from 1 to {len(choices)}")


def _parse_json(kind: str, entered: str) -> Any:
    sentence = {"integer": "enter a whole number", "number": "enter a number"}.get(
        kind, "enter JSON"
    )
    try:
        value = json.loads(entered)
    except ValueError:
        raise ValueError(sentence) from None
    types: tuple[type, ...] = (int,) if kind == "integer" else (int, float)
    if kind != "json" and (isinstance(value, bool) or not isinstance(value, types)):
        raise ValueError(sentence)
    return value


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
