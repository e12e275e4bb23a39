from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.api.json_decoding import convert_json, decode_json, decode_json_field
from hub.errors import BadRequest


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    user: str


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    to: Inner
    data: msgspec.Raw = msgspec.Raw(b"null")


@pytest.mark.parametrize(
    ("body", "path", "sentence"),
    [
        (b'{"to":{"user":1}}', "to.user", "to.user: expected `str`, got `int`"),
        (b'{"to":{"user":"a","x":1}}', "to.x", "there is no field 'to.x' here"),
        (b"{}", None, "missing required field"),
        (b'{"to":{"user":"a"},"data":"\xff"}', None, "the body is not JSON"),
        (b"{", None, "the body is not JSON"),
    ],
)
def test_invalid_body(body: bytes, path: str | None, sentence: str) -> None:
    """The error names the invalid field in one sentence."""
    with pytest.raises(BadRequest) as raised:
        decode_json(body, Outer)
    assert raised.value.path == path
    assert sentence in raised.value.detail


def test_converted_value_has_the_same_errors() -> None:
    """Decoded JSON is checked like JSON text."""
    with pytest.raises(BadRequest, match=r"to\.user: expected `str`, got `int`"):
        convert_json({"to": {"user": 1}}, Outer)


def test_field() -> None:
    """A field with JSON text may be empty, and its error names the field."""
    assert decode_json_field("", dict[str, Any], "params") is None
    assert decode_json_field('{"n":1}', dict[str, Any], "params") == {"n": 1}
    with pytest.raises(BadRequest, match=r"^params: ") as raised:
        decode_json_field("[1]", dict[str, Any], "params")
    assert raised.value.path == "params"
