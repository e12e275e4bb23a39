"""Null means absent for every optional field of every body that the hub decodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from hub.api.json_decoding import convert_json, decode_json
from hub.api.publish_requests import PublishBody
from hub.compat.ag_ui.requests import ForwardedProps
from hub.errors import BadRequest
from hub.http.callback import CallbackResponse
from hub.http.routes.websocket import ClientMessage, Generate, SetTopics, Stop
from hub.http.routing import find_operations
from hub.wiring.route_table import LISTENERS
from tests.properties import limit_examples

ANY_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def request_models() -> Iterator[Any]:
    """Yield the type of every body: those of the routes, and those that no route declares."""
    for resources in LISTENERS.values():
        for resource in resources:
            for operation, _ in find_operations(resource):
                yield from (model for model in operation.body.values() if model is not None)
    yield from (ClientMessage, Generate, Stop, SetTopics, ForwardedProps, CallbackResponse)


MODELS: Final = list(dict.fromkeys(request_models()))


@st.composite
def bodies(draw: st.DrawFn, type_: inspect.Type) -> tuple[Any, Any]:
    """Draw two JSON values of a type: the first has null for optional fields, the second lacks
    these fields.
    """
    match type_:
        case inspect.Metadata():
            return draw(bodies(type_.type))
        case inspect.UnionType():
            options = [each for each in type_.types if not isinstance(each, inspect.NoneType)]
            return draw(bodies(draw(st.sampled_from(options))))
        case inspect.ListType() | inspect.VarTupleType():
            items = [draw(bodies(type_.item_type)) for _ in range(draw(st.integers(0, 2)))]
            return [with_nulls for with_nulls, _ in items], [without for _, without in items]
        case inspect.StructType():
            with_nulls: dict[str, Any] = {}
            without: dict[str, Any] = {}
            for field in type_.fields:
                if not field.required and draw(st.booleans()):
                    with_nulls[field.encode_name] = None
                else:
                    name = field.encode_name
                    with_nulls[name], without[name] = draw(bodies(field.type))
            return with_nulls, without
    value = draw(plain_values(type_))
    return value, value


def plain_values(type_: inspect.Type) -> st.SearchStrategy[Any]:
    match type_:
        case inspect.StrType():
            return st.text("ab", min_size=1, max_size=3)
        case inspect.LiteralType():
            return st.sampled_from(type_.values)
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return st.integers(0, 9)
        case inspect.FloatType():
            return st.floats(0, 9)
        case inspect.DictType():
            return st.dictionaries(st.text(max_size=3), ANY_JSON, max_size=2)
        case inspect.AnyType() | inspect.RawType():
            return ANY_JSON
    raise NotImplementedError(type_)


@pytest.mark.parametrize("model", MODELS, ids=str)
@settings(max_examples=limit_examples(25), deadline=None)
@given(data=st.data())
def test_null_means_absent(model: Any, data: st.DataObject) -> None:
    """A body with null in optional fields equals the body without them."""
    with_nulls, without = data.draw(bodies(inspect.type_info(model)))
    decoded = decode_json(json.dumps(with_nulls).encode(), model)
    expected = decode_json(json.dumps(without).encode(), model)
    assert msgspec.json.encode(decoded) == msgspec.json.encode(expected)
    if model.__module__.startswith("hub.compat"):  # these are decoded from a dict
        assert convert_json(with_nulls, model) == expected


def test_free_form_fields_keep_null() -> None:
    """Null is a value in data, and a number of the data stays as it is."""
    text = b'{"to":{"user":"a","all":null},"data":{"a":null,"n":1.50000000000000000000001}}'
    assert bytes(decode_json(text, PublishBody).data) == b'{"a":null,"n":1.50000000000000000000001}'
    null = b'{"to":{"user":"a"},"ephemeral":null,"data":null}'
    assert bytes(decode_json(null, PublishBody).data) == b"null"
    body = {"type": "generate", "body": {"params": {"seed": None}, "metadata": {"a": None}}}
    generate = convert_json(body, Generate).body
    assert (generate.params, generate.metadata) == ({"seed": None}, {"a": None})


@pytest.mark.parametrize(
    ("body", "path", "sentence"),
    [
        (b'{"to":null}', "to", "to: expected `object`, got `null`"),
        (b'{"to":{"users":[null]}}', "to.users[0]", "expected `str`, got `null`"),
        (b'{"to":{"user":"a"},"event":null,"evnt":null}', "evnt", "there is no field 'evnt'"),
        (b'{"to":{"user":"a"},"event":null,"ephemeral":1}', "ephemeral", "expected `bool`"),
        (b'{"event":null,"to":', None, "the body is not JSON"),
        (b"null", None, "expected `object`, got `null`"),
    ],
)
def test_other_nulls_are_refused(body: bytes, path: str | None, sentence: str) -> None:
    """Null in a required field, in a list or in an unknown field gets the sentence of its field."""
    with pytest.raises(BadRequest) as raised:
        decode_json(body, PublishBody)
    assert raised.value.path == path
    assert sentence.lower() in raised.value.detail.lower()
