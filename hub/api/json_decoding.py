"""JSON as typed values, with an error that names the invalid field in one sentence."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec

from hub.api.null_members import drop_nulls
from hub.core.json_depth import MAX_DEPTH, is_deeper_than
from hub.error_codes import INVALID_JSON, UNKNOWN_FIELD
from hub.errors import BadRequest

_LOCATION: Final = re.compile(r"^(?P<what>.*) - at `\$\.?(?P<path>.*)`$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"unknown field `(?P<field>[^`]*)`")

# Half of a surrogate pair without its other half, as an escape or as bytes that are not UTF-8.
# The first alternatives match what must be skipped: whole pairs, and other escapes.
_LONE_SURROGATE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(?!u[dD][89a-fA-F])."
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\xed[\xa0-\xbf][\x80-\xbf])",
    re.DOTALL,
)

T = TypeVar("T")


def decode_json(body: bytes, model: type[T]) -> T:
    """Decode JSON text, in which null means absent for optional fields.

    Raise BadRequest that names the field.
    """
    if is_deeper_than(MAX_DEPTH, body):
        raise BadRequest(
            f"the body is not JSON of at most {MAX_DEPTH} nested arrays and objects",
            code=INVALID_JSON,
        )
    try:
        body.decode()  # msgspec does not check the UTF-8 of fields of the type Raw
        return _decode(body, model)
    except msgspec.ValidationError as error:
        raise _invalid_field(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = _describe_lone_surrogate(body) or str(error)
        raise BadRequest(f"the body is not JSON: {reason}", code=INVALID_JSON) from error


def decode_json_field(text: str, model: type[T], path: str) -> T | None:
    """Decode a field that holds JSON text; return None if it is empty.

    path: the field's name. Raise BadRequest that names it.
    """
    if not text:
        return None
    if is_deeper_than(MAX_DEPTH, text.encode()):
        sentence = f"{path}: more than {MAX_DEPTH} nested arrays and objects"
        raise BadRequest(sentence, path=path)
    try:
        return msgspec.json.decode(text, type=model)
    except (msgspec.DecodeError, RecursionError) as error:
        reason = _describe_lone_surrogate(text.encode("utf-8", "surrogatepass"))
        sentence = f"{path}: {reason or _lower_first(str(error))}"
        raise BadRequest(sentence, path=path) from error


def convert_json(value: Any, model: type[T]) -> T:
    """Convert decoded JSON to a type; null means absent for optional fields.

    Raise BadRequest that names the field.
    """
    try:
        return msgspec.convert(drop_nulls(value, model), model)
    except msgspec.ValidationError as error:
        raise _invalid_field(str(error)) from error


def _decode(body: bytes, model: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=model)
    except msgspec.ValidationError:
        if b"null" not in body:
            raise
    # Only text that the model refuses is read again, so that other requests stay fast.
    without_nulls = msgspec.json.encode(drop_nulls(msgspec.Raw(body), model))
    return msgspec.json.decode(without_nulls, type=model)


def _invalid_field(message: str) -> BadRequest:
    """Take the path out of msgspec's message, for example Expected `str`, got `int` - at `$.to`."""
    match = _LOCATION.match(message)
    what, path = (match["what"], match["path"]) if match else (message, "")
    unknown = _UNKNOWN.search(what)
    if unknown:
        path = f"{path}.{unknown['field']}" if path else unknown["field"]
        return BadRequest(f"there is no field {path!r} here", code=UNKNOWN_FIELD, path=path)
    if path:
        what = f"{path}: {_lower_first(what)}"
    return BadRequest(what, path=path or None)


def _describe_lone_surrogate(text: bytes) -> str | None:
    """Return a sentence on the first half of a surrogate pair that has no other half, or None."""
    for match in _LONE_SURROGATE.finditer(text):
        if lone := match["lone"]:
            shown = lone.decode() if lone.startswith(b"\\") else "as bytes"
            return (
                f"half of a surrogate pair ({shown}, byte {match.start()}) is not a character; "
                "a text was probably cut inside an emoji"
            )
    return None


def _lower_first(text: str) -> str:
    """Return a sentence for the middle of another one; a word such as JSON keeps its capitals."""
    first_word = text.split(maxsplit=1)[0]
    return text if first_word[1:] != first_word[1:].lower() else text[0].lower() + text[1:]
