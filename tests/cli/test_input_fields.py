"""What a person at the terminal enters for an input, and what `--input` says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.cli.input_fields import list_fields, parse_entry, parse_flag

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Your name", "description": "as on the card"},
        "note": {"type": "string"},
        "amount": {"type": "number"},
        "count": {"type": "integer", "default": 1},
        "sure": {"type": "boolean"},
        "colour": {"enum": ["red", 7, None]},
        "size": {"oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]},
        "tags": {"type": "array"},
        "both": {"type": ["string", "number"]},
        "maybe": {"type": ["string", "null"]},
        "any": True,
    },
    "required": ["name", "amount", "count", "sure", "maybe"],
}
FIELDS = {field.name: field for field in list_fields(SCHEMA)}


def test_each_property_has_a_field_of_its_kind() -> None:
    """A property that has no field of its own is entered as JSON."""
    assert {name: field.kind for name, field in FIELDS.items()} == {
        "name": "text",
        "note": "text",
        "amount": "number",
        "count": "integer",
        "sure": "boolean",
        "colour": "choice",
        "size": "choice",
        "tags": "json",
        "both": "json",
        "maybe": "text",
        "any": "text",
    }
    name = FIELDS["name"]
    assert (name.label, name.hint, name.is_required) == ("Your name", "as on the card", True)
    assert [choice.label for choice in FIELDS["colour"].choices] == ["red", "7", "null"]


@pytest.mark.parametrize(
    ("name", "entered", "value"),
    [
        ("name", "7", "7"),
        ("name", "", ""),
        ("note", "", msgspec.UNSET),
        ("maybe", "", None),
        ("amount", "1.5", 1.5),
        ("count", "", 1),
        ("count", "3", 3),
        ("sure", "Y", True),
        ("sure", "no", False),
        ("colour", "2", 7),
        ("colour", "7", 7),
        ("colour", "red", "red"),
        ("size", "Large", "l"),
        ("tags", '["a"]', ["a"]),
        ("both", '"a"', "a"),
    ],
)
def test_values_have_the_types_of_the_schema(name: str, entered: str, value: Any) -> None:
    """A choice is made by its number or its label; an empty optional field is left out."""
    parsed = parse_entry(FIELDS[name], entered)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "entered", "sentence"),
    [
        ("amount", "", "a value is needed"),
        ("amount", "many", "enter a number"),
        ("amount", "true", "enter a number"),
        ("count", "1.5", "enter a whole number"),
        ("sure", "perhaps", "enter y or n"),
        ("colour", "4", "enter a number from 1 to 3"),
        ("colour", "green", "enter a number from 1 to 3"),
        ("tags", "[", "enter JSON"),
    ],
)
def test_what_cannot_be_right_is_asked_again(name: str, entered: str, sentence: str) -> None:
    """The error is a sentence about what can be entered."""
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        parse_entry(FIELDS[name], entered)


@pytest.mark.parametrize(
    ("schema", "entered", "value"),
    [
        (None, "42", "42"),
        (True, "42", "42"),
        ({"type": "integer"}, "42", 42),
        ({"type": "boolean"}, "n", False),
        ({"enum": [1, 2]}, "2", 2),
        ({"type": "object"}, "{}", {}),
    ],
)
def test_other_schemas_have_one_field(schema: Any, entered: str, value: Any) -> None:
    """It is the whole value."""
    (field,) = list_fields(schema)
    assert (field.name, parse_entry(field, entered)) == (None, value)


@pytest.mark.parametrize(
    ("text", "options", "schema", "value"),
    [
        ("1", ["1", "2"], None, "1"),
        ("1", None, None, "1"),
        ("1", None, {"type": "string"}, "1"),
        ("1", None, {"type": "integer"}, 1),
        ('{"a": 1}', None, SCHEMA, {"a": 1}),
        ("approve", None, {"enum": ["approve"]}, "approve"),
    ],
)
def test_value_of_the_flag(text: str, options: list[str] | None, schema: Any, value: Any) -> None:
    """It is text for options and for a schema of text; otherwise JSON, if it is some."""
    assert parse_flag(text, options, schema) == value
