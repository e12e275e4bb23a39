"""The schemas of inputs: what is one, what matches it, and what a pattern may cost."""

from __future__ import annotations

from typing import Any

import pytest

from hub.core.input_schema import InvalidSchema, InvalidValue, check_schema, check_value


@pytest.mark.parametrize(
    "schema",
    [
        *(None, [], "string", 1),
        *({"type": "nope"}, {"minimum": "1"}, {"pattern": "["}, {"$schema": "urn:unknown"}),
        *({"$ref": "#/missing"}, {"$ref": "https://example.com/schema"}, {"$ref": "other.json"}),
        *({"pattern": "(?=a)b"}, {"pattern": r"(a)\1"}),
        {"properties": {"a": {"$dynamicRef": "https://example.com/schema"}}},
    ],
)
def test_what_is_no_schema(schema: Any) -> None:
    """It is refused when it is given, and nothing is fetched for it."""
    with pytest.raises(InvalidSchema):
        check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "value", "path"),
    [
        ({"type": "object", "required": ["amount"]}, {}, ""),
        ({"properties": {"a": {"items": {"type": "string"}}}}, {"a": ["x", 1]}, "a[1]"),
        ({"items": {"properties": {"n": {"maximum": 1}}}}, [{"n": 2}], "[0].n"),
        (False, 1, ""),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "number"}}}, "x", ""),
    ],
)
def test_value_that_does_not_match(schema: Any, value: Any, path: str) -> None:
    """The error says where."""
    check_schema(schema)
    with pytest.raises(InvalidValue) as caught:
        check_value(schema, value)
    assert caught.value.path == path
    assert str(caught.value)


def test_message_is_short() -> None:
    """A message may contain the value, which may be long."""
    with pytest.raises(InvalidValue) as caught:
        check_value({"type": "number"}, "x" * 10_000)
    assert len(str(caught.value)) <= 500


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", r"^(\w+\s?)*$", "^(a*)*b$"])
def test_no_pattern_takes_exponential_time(pattern: str) -> None:
    """With a matcher that goes back, these take longer than the age of the universe."""
    for schema in ({"pattern": pattern}, {"patternProperties": {pattern: False}}):
        value = "a" * 10_000 + "!"
        check_schema(schema)
        if "pattern" in schema:
            with pytest.raises(InvalidValue):
                check_value(schema, value)
        else:
            check_value(schema, {value: 1})
