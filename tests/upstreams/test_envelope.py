"""Endpoints of a team's own: how their streams end, what is text, and what is an error."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.parts import Finished, Part, Replace, Text
from hub.errors import UpstreamError
from hub.upstreams.envelope import Envelope
from hub.upstreams.envelope_reader import matches
from hub.upstreams.reading.stream_reader import StreamReader
from tests.defaults import envelope_rules
from tests.upstreams.kit import ReceivedRequest, collect, collect_failure, scripted_server
from tests.upstreams.kit import send_chunks as send

FIELD = st.sampled_from(["data", "content", "answer", "result", "delta"])
WORD = st.sampled_from(["[DONE]", "stop", "</end>", "结束", "__END__"])
TEXTS = st.lists(st.text(min_size=1, max_size=8), max_size=6)


def read(rules: dict[str, Any], *chunks: bytes) -> list[Part]:
    """Return the parts of a response. Raise the error of the stream."""
    reader = StreamReader(Envelope(envelope_rules(**rules)), 100_000, ())
    parts: list[Part] = []
    for chunk in chunks:
        parts += reader.feed(chunk)
        if reader.failure is not None:
            raise reader.failure
        if reader.done:
            break
    else:
        parts += reader.end()
    if reader.failure is not None:
        raise reader.failure
    return [*parts, *reader.finish()]


def text_of(parts: list[Part]) -> str:
    assert parts[-1] == Finished("stop")
    return "".join(part.text for part in parts if isinstance(part, Text))


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges) if a < b]


CUTS = st.lists(st.integers(0, 300), max_size=6)


@given(
    texts=TEXTS,
    field=FIELD,
    word=WORD,
    end=st.sampled_from(["in the text", "raw data", "as JSON text", "flag", "event"]),
    flag=st.sampled_from([True, "true", "True", 1, "1"]),
    end_data=st.sampled_from(["stop", "", None, "{}", '{"code":200}', "[DONE]"]),
    framing=st.sampled_from(["sse", "ndjson"]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    space=st.sampled_from(["", " "]),
    cuts=CUTS,
)
def test_every_end(
    texts: list[str],
    field: str,
    word: str,
    end: str,
    flag: Any,
    end_data: str | None,
    framing: str,
    line_end: str,
    space: str,
    cuts: list[int],
) -> None:
    """However an application says that its answer is complete, the text is the same."""
    texts = [text for text in texts if text.strip() != word]
    ends: dict[str, str | None] = {
        "in the text": json.dumps({"code": 200, field: f" {word}\n"}, ensure_ascii=False),
        "raw data": word,
        "as JSON text": json.dumps({field: word}),
        "flag": json.dumps({"code": 200, field: "", "finished": flag}),
        "event": end_data,
    }
    rules = {
        "text": field,
        "framing": framing,
        "end_texts": (word,),
        "end_field": "finished",
        "end_values": (True,),
        "end_events": ("stop", "end"),
    }
    lines = [json.dumps({"code": 200, field: text, "finished": "false"}) for text in texts]
    if framing == "ndjson" and end != "event":
        stream = "".join(line + line_end for line in [*lines, str(ends[end])])
    else:
        stream = "".join(f"data:{space}{line}{line_end}{line_end}" for line in lines)
        if end == "event":
            stream += f"event:{space}stop{line_end}"
        if ends[end] is not None:
            stream += f"data:{space}{ends[end]}{line_end}"
        stream += line_end
    after = f"data: {json.dumps({field: 'after the end'})}{line_end}{line_end}"
    parts = read(rules, *split((stream + after).encode(), cuts))
    assert text_of(parts) == "".join(texts)


@given(texts=TEXTS, cuts=CUTS)
def test_space_of_plain_text(texts: list[str], cuts: list[int]) -> None:
    """Spring writes no space after `data:`; with `keep` its text arrives unchanged."""
    texts = [" ".join(["", *text.splitlines()]) or " " for text in texts]
    stream = "".join(f"data:{text}\n\n" for text in texts) + "event:end\ndata:\n\n"
    rules = {"json_data": False, "data_space": "keep", "end_events": ("end",)}
    assert text_of(read(rules, *split(stream.encode(), cuts))) == "".join(texts)


def test_space_of_plain_text_by_default() -> None:
    """By the standard, one space after `data:` does not belong to the data."""
    stream = b"data:Hello\n\ndata: world\n\ndata:  !\n\ndata: [DONE]\n\n"
    assert text_of(read({"json_data": False}, stream)) == "Helloworld !"


@pytest.mark.parametrize(
    "event",
    [
        b"event:stop\ndata:stop\n\n",
        b"event:stop\ndata:\n\n",
        b"event:stop\ndata\n\n",
        b"event:stop\n\n",
        b"event: stop\ndata: [DONE]\n\n",
        b"event: stop\ndata: not JSON\n\n",
        b"event: stop\ndata: 7\n\n",
        b"event: stop",
        b"event: stop\n",
    ],
)
@pytest.mark.parametrize("json_data", [True, False])
def test_end_event_with_any_data(event: bytes, json_data: bool) -> None:
    """The name of an end event is compared before its data is read, and it may have no data."""
    if not json_data and (b"not JSON" in event or b"7" in event):
        return  # this is text
    first = b'data: {"data":"a"}\n\n' if json_data else b"data: a\n\n"
    rules = {"json_data": json_data, "end_events": ("stop",)}
    if event == b"event: stop":
        with pytest.raises(UpstreamError, match="before the answer was finished"):
            read(rules, first + event)
        return
    assert text_of(read(rules, first + event)) == "a"


def test_end_event_with_text() -> None:
    """An end event may carry the last text, or all of it."""
    stream = b'data: {"data":"a"}\n\nevent: end\ndata: {"data":"b"}\n\n'
    assert text_of(read({"end_events": ("end",)}, stream)) == "ab"
    rules = {"json_data": False, "text_mode": "cumulative", "end_events": ("finish",)}
    assert text_of(read(rules, b"data: a\n\nevent: finish\ndata: ab\n\n")) == "ab"
    replaced = read(rules, b"data: a\n\nevent: finish\ndata: xy\n\n")
    assert Replace("xy") in replaced


@pytest.mark.parametrize(
    ("value", "accepted", "expected"),
    [
        (True, [True], True),
        ("true", [True], True),
        ("TRUE ", [True], True),
        (1, [True], True),
        ("false", [True], False),
        (None, [False], False),
        (0, [False], True),
        (200, ["200"], True),
        ("200", [200], True),
        (200.0, [200], True),
        (2000, [200], False),
        ("Stop", ["stop"], True),
        ([], ["[]"], False),
        ({}, [0], False),
    ],
)
def test_values(value: object, accepted: list[Any], expected: bool) -> None:
    """A value is compared as servers write it: as a number, as true, or as a text."""
    assert matches(value, accepted) is expected


@pytest.mark.parametrize(
    ("rules", "event", "message"),
    [
        ({"error_field": "err.text"}, {"code": 500, "err": {"text": "no quota"}}, "no quota"),
        ({"error_field": "reason"}, {"code": 500, "reason": 17}, "17"),
        ({"error_field": "gone"}, {"code": 500, "msg": "no quota"}, "no quota"),
        ({}, {"code": 500, "errMsg": "no quota"}, "no quota"),
        ({}, {"code": 500}, "the upstream failed"),
    ],
)
@pytest.mark.parametrize("is_named", [False, True])
def test_error_message(
    rules: dict[str, Any], event: dict[str, Any], message: str, is_named: bool
) -> None:
    """The message of an error is where the setting says, or in one of the usual fields."""
    name = b"event: error\n" if is_named else b""
    ok = {"ok_field": "code", "ok_values": (200,), "error_events": ("error",)}
    with pytest.raises(UpstreamError) as caught:
        read({**ok, **rules}, name + b"data: " + json.dumps(event).encode() + b"\n\n")
    assert caught.value.code == "upstream_error"
    assert caught.value.message.endswith(message)


def test_numbers_are_text() -> None:
    """A number in the place of the text is its text; an object there is an error."""
    stream = b'data: {"data":4}\n\ndata: {"data":2.5}\n\ndata: [DONE]\n\n'
    assert text_of(read({}, stream)) == "42.5"
    with pytest.raises(UpstreamError, match="not text at 'data'"):
        read({}, b'data: {"data":{}}\n\n')


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/octet-stream"])
async def test_text_without_events(content_type: bytes) -> None:
    """With `framing = "text"` the body is the text, split anywhere, and its end is the end."""
    received = ReceivedRequest()
    text = "一 two\n\nthree".encode()
    chunks = [text[n : n + 2] for n in range(0, len(text), 2)]
    dialect = Envelope(envelope_rules(framing="text"))
    async with scripted_server(send(HEAD % content_type, *chunks), received) as url:
        parts = await collect(url, dialect=dialect)
    assert text_of(parts) == "一 two\n\nthree"
    assert b"Accept: text/plain, application/json;q=0.9, */*;q=0.1\r\n" in received.head


@pytest.mark.parametrize(
    "rules", [{"framing": "text"}, {"framing": "ndjson", "json_data": False}, {"json_data": False}]
)
async def test_error_in_json_where_text_is_expected(rules: dict[str, Any]) -> None:
    """A JSON document is not shown to users as an answer in plain text."""
    body = b'{"code":401,"msg":"token expired"}'
    error = await collect_failure(
        send(HEAD % b"application/json", body), dialect=Envelope(envelope_rules(**rules))
    )
    assert error.code == "upstream_protocol"
    assert error.message.endswith("instead of sending a stream: token expired")


async def test_lines_of_text() -> None:
    """`ndjson` without JSON is one text a line."""
    rules = envelope_rules(framing="ndjson", json_data=False, end_texts=("END",))
    script = send(HEAD % b"text/plain", b"{a\nda", b"ta: b\nEND\nc\n")
    async with scripted_server(script) as url:
        assert text_of(await collect(url, dialect=Envelope(rules))) == "{adata: b"
