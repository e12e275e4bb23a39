from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api.json_decoding import convert_json, decode_json, decode_json_field
from hub.core.json_depth import MAX_DEPTH, is_deeper_than
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
        (rb'{"to":{"user":"\ud83d"}}', None, r"half of a surrogate pair (\ud83d, byte 15)"),
        (rb'{"to":{"user":"\uD83D!"}}', None, r"half of a surrogate pair (\uD83D, byte 15)"),
        (rb'{"to":{"user":"a"},"data":"\udca9x"}', None, "half of a surrogate pair"),
        (rb'{"to":{"user":"\ud83d\ud83d\ude00"}}', None, "half of a surrogate pair"),
        (b'{"to":{"user":"\xed\xa0\xbd"}}', None, "half of a surrogate pair (as bytes"),
        (b'{"to":{"user":"\\ud80\xae"}}', None, "the body is not JSON"),
        (rb'{"to":{"user":"\\ud83d"}', None, "the body is not JSON: Input data was truncated"),
        (rb'{"to":{"user":"\ud83d\ude00"}', None, "the body is not JSON: Input data was truncated"),
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
    with pytest.raises(BadRequest, match=r"^params: expected `object`"):
        decode_json_field("[1]", dict[str, Any], "params")
    with pytest.raises(BadRequest, match=r"^params: JSON is malformed"):
        decode_json_field("{x", dict[str, Any], "params")
    with pytest.raises(BadRequest, match=r"^params: half of a surrogate pair"):
        decode_json_field(r'{"a":"\ud83d"}', dict[str, Any], "params")


@given(st.text(), st.text(), st.sampled_from([r"\ud800", r"\uDBFF", r"\udc00", r"\uDFFF"]))
def test_lone_surrogates(before: str, after: str, half: str) -> None:
    """The error of a text with half of a surrogate pair says so, whatever is around it."""
    text = msgspec.json.encode([before, after]).replace(b'","', b" " + half.encode() + b" ", 1)
    with pytest.raises(BadRequest, match="half of a surrogate pair"):
        decode_json(text, list[str])


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_json_is_refused_with_every_python(opening: bytes, closing: bytes) -> None:
    """The limit is the hub's own, and the sentence names it."""
    deepest = opening * MAX_DEPTH + b"1" + closing * MAX_DEPTH
    assert decode_json(deepest, Any) is not None
    assert decode_json_field(deepest.decode(), msgspec.Raw, "data") is not None
    deeper = opening + deepest + closing
    with pytest.raises(BadRequest, match=f"not JSON of at most {MAX_DEPTH} nested"):
        decode_json(deeper, Any)
    with pytest.raises(BadRequest, match=f"^data: more than {MAX_DEPTH} nested") as raised:
        decode_json_field(deeper.decode(), msgspec.Raw, "data")
    assert raised.value.path == "data"


JSON_VALUES = st.recursive(
    st.none() | st.integers() | st.text('[]{}\\"a'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('[]{}\\"'), inner),
)


def depth_of(value: Any) -> int:
    """Return the number of arrays and objects in each other."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(JSON_VALUES)
def test_depth_ignores_brackets_in_strings(value: Any) -> None:
    """A value is deeper than each number below its depth, and not deeper than its depth."""
    text, depth = msgspec.json.encode(value), depth_of(value)
    assert not is_deeper_than(depth, text)
    assert depth == 0 or is_deeper_than(depth - 1, text)


def test_unfinished_string_is_read_once() -> None:
    """A long body of unfinished strings takes no more than linear time."""
    assert not is_deeper_than(0, b'"' + b"[\\" * 500_000)
