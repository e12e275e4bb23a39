"""What all encoders have in common: valid bytes and stable chunk numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.compat.answer_encoder import AnswerEncoderBase
from hub.compat.answer_state import AnswerCollector
from hub.compat.append_only import AlreadySentTextChanged, AppendOnlyText
from hub.core.sse_decoder import SseDecoder
from tests.compat.history import (
    DONE,
    ENCODERS,
    FAILED,
    RECORD,
    RESTARTED,
    STARTED,
    STOPPED,
    Event,
    continued,
    encode_all,
    event,
    histories,
    reasoning_delta,
    text_delta,
    tool_call_delta,
)
from tests.properties import limit_examples

_SPLITTERS = "a\u0085b\u2028c\u2029d\r\ne\0f\ufeff"
_STORY = [
    STARTED, reasoning_delta(_SPLITTERS), text_delta(_SPLITTERS),
    tool_call_delta(0, '{"a":1}', id="call_x", name="f"), text_delta("\n"), DONE,
]  # fmt: skip


@pytest.mark.parametrize("name", ENCODERS)
@given(histories)
@settings(max_examples=limit_examples(25), deadline=None)
def test_bytes_that_every_client_survives(name: str, events: list[Event]) -> None:
    """Streams have LF only, no byte order mark, no `id:` and no `retry:`; every event has data. The
    streams of OpenAI's chat, the AI SDK and AG-UI have only `data:` lines.
    """
    encoder = ENCODERS[name]()
    chunks = [*encode_all(encoder, events), encoder.trailer, encoder.abort("full", "x")]
    fields = {b"data"} if name in ("chat", "ui", "ui with reset-step", "ag-ui", "ag-ui 1.0") else {
        b"data", b"event"
    }  # fmt: skip
    for chunk in filter(None, chunks):
        assert chunk.endswith(b"\n\n")
        assert b"\r" not in chunk
        assert not chunk.startswith(b"\xef\xbb\xbf")
        for whole in chunk[:-2].split(b"\n\n"):
            lines = whole.split(b"\n")
            assert {line.partition(b":")[0] for line in lines} <= fields
            assert lines[-1].startswith(b"data: ")


@pytest.mark.parametrize("name", ["chat", "responses", "messages", "ui", "ag-ui", "envelope"])
def test_json_stays_on_one_line_for_clients_that_split_on_unicode(name: str) -> None:
    """JSON has no U+0085, U+2028 or U+2029, at which `str.splitlines` and `iter_lines` split."""
    encoder = ENCODERS[name]()
    text = b"".join(encode_all(encoder, _STORY)).decode()
    lines = [line for line in text.splitlines() if line.startswith("data: ")]
    assert len(lines) == text.count("data: ")
    assert _SPLITTERS in "".join(map(str, _strings([json.loads(line[6:]) for line in lines])))


@pytest.mark.parametrize("name", ENCODERS)
@given(histories, st.integers(0, 40))
@settings(max_examples=limit_examples(25), deadline=None)
def test_chunks_have_the_same_numbers_for_every_reader(
    name: str, events: list[Event], cut: int
) -> None:
    """A late reader that skips N chunks gets the chunks that the first reader got after N."""
    make = ENCODERS[name]
    whole = encode_all(make(), events)
    for known in {0, min(cut, len(events)), len(events)}:
        early = encode_all(make(), events[:known])
        assert early == whole[: len(early)]
    assert encode_all(make(), events)[cut:] == whole[cut:]


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("end", [DONE, STOPPED, FAILED])
def test_nothing_follows_the_end(name: str, end: Event) -> None:
    """No chunk follows the end, and the encoder is not finished before it."""
    encoder = ENCODERS[name]()
    before = encode_all(encoder, [STARTED, text_delta("a")])
    assert not encoder.is_finished
    ending = encoder.feed(*end)
    assert encoder.is_finished
    assert ending
    assert before + list(ending) == encode_all(
        ENCODERS[name](), [STARTED, text_delta("a"), end, text_delta("b")]
    )


@pytest.mark.parametrize("name", ["chat", "responses", "messages", "envelope", "text"])
def test_restarted_answer_continues_where_it_repeats_the_sent_text(name: str) -> None:
    """An append-only client gets the repeated text once."""
    text = _received_text(
        name, [STARTED, text_delta("Hel"), RESTARTED, text_delta("He"), text_delta("llo"), DONE]
    )
    assert text == "Hello"


KEPT: list[Event] = [
    STARTED,
    event("delta", i=0, text="Hel"),
    event("part", i=1, type="step_start", name="s"),
    event("delta", i=2, text="lo"),
]
HEL = {"type": "text", "text": "Hel"}
STEP = {"type": "step", "name": "s", "state": "running"}


@pytest.mark.parametrize("name", ENCODERS)
def test_continued_answer_that_lost_nothing_is_not_shown(name: str) -> None:
    """If all parts that were sent remain, the client gets nothing; then the next ones."""
    encoder = ENCODERS[name]()
    encode_all(encoder, KEPT)
    kept = continued(3, HEL, STEP, {"type": "text", "text": "lo"})
    assert encoder.feed(*kept) == []
    assert (
        encoder.feed(*event("delta", i=3, text="!"))
        == encode_all(ENCODERS[name](), [*KEPT, event("delta", i=3, text="!")])[-1:]
    )


@pytest.mark.parametrize("name", ["chat", "responses", "messages", "envelope", "text"])
@pytest.mark.parametrize("after", [["lo"], ["l", "o"], ["lo!"]])
def test_continued_answer_repeats_the_void_text(name: str, after: list[str]) -> None:
    """An append-only client gets the text that it has once."""
    again = [event("delta", i=2 + n, text=text) for n, text in enumerate(after)]
    text = _received_text(name, [*KEPT, continued(2, HEL, STEP), *again, DONE])
    assert text == "Hel" + "".join(after)


@pytest.mark.parametrize("name", ["chat", "responses", "messages", "envelope", "text"])
@pytest.mark.parametrize("after", [[event("delta", i=2, text="p")], [DONE]])
def test_continued_answer_that_contradicts_the_sent_text(name: str, after: list[Event]) -> None:
    """The client never gets a mixture of two answers."""
    chunks = encode_all(ENCODERS[name](), [*KEPT, continued(2, HEL, STEP), *after])
    assert b"generated again" in b"".join(chunks)


@pytest.mark.parametrize("name", ["ui", "ui with reset-step", "ag-ui"])
def test_continued_answer_shows_what_remains(name: str) -> None:
    """A client that can take parts back gets those that remain again."""
    chunks = encode_all(ENCODERS[name](), [*KEPT, continued(1, HEL), *KEPT[2:], DONE])
    restarted = encode_all(ENCODERS[name](), [*KEPT, RESTARTED, *KEPT[1:], DONE])
    assert chunks == restarted


@pytest.mark.parametrize("name", ["chat", "responses", "messages"])
@pytest.mark.parametrize("parts", [1, 2])
def test_calls_of_a_continued_answer(name: str, parts: int) -> None:
    """A call that was sent stays; one that is void cannot be taken back."""
    call = tool_call_delta(0, "{}", id="call_x", name="f")
    text = event("delta", i=1, text="a")
    part = {"type": "tool_call", "index": 0, "id": "call_x", "name": "f", "arguments": "{}"}
    kept = continued(1, {**part, "run_by": "client"}) if parts == 1 else continued(0)
    chunks = encode_all(ENCODERS[name](), [STARTED, call, text, kept, text, DONE])
    assert (b"generated again" in b"".join(chunks)) is (parts == 2)


@pytest.mark.parametrize("name", ["chat", "responses", "messages", "envelope", "text"])
@pytest.mark.parametrize(
    "after",
    [
        [RESTARTED, text_delta("Bye")],
        [RESTARTED, text_delta("H"), DONE],
        [event("replaced", text="Ho")],
    ],
)
def test_answer_that_contradicts_the_sent_text_is_an_error(name: str, after: list[Event]) -> None:
    """The client never gets a mixture of two answers, or too short an answer as complete."""
    encoder = ENCODERS[name]()
    chunks = encode_all(encoder, [STARTED, text_delta("Hello"), *after])
    assert encoder.is_finished
    assert b"generated again" in b"".join(chunks)
    assert encoder.feed(*text_delta("more")) == ()


def test_encoder_must_handle_every_event() -> None:
    """An encoder that lacks a method cannot be created, so that it cannot fail during an answer."""

    class Half(AnswerEncoderBase):
        def on_text(self, text: str) -> Iterator[bytes]:
            yield text.encode()

    with pytest.raises(TypeError, match=r"abstract methods '?on_done"):
        Half(RECORD)  # type: ignore[abstract]


def test_cumulative_template_sends_the_current_text() -> None:
    """Each event replaces the one before, so that nothing must be retracted."""
    chunks = encode_all(
        ENCODERS["cumulative"](),
        [STARTED, text_delta("Hel"), text_delta("lo"), RESTARTED, text_delta("Bye"), DONE],
    )
    assert chunks == [b"data: Hel\n\n", b"data: Hello\n\n", b"data: Bye\n\n", b"data: [DONE]\n\n"]


def test_collected_answer_is_the_newest_version() -> None:
    """The collected answer has only the text after the last restart."""
    collected = AnswerCollector(RECORD)
    story = [
        STARTED,
        text_delta("a"),
        reasoning_delta("b"),
        RESTARTED,
        text_delta("c"),
        event("replaced", text="d"),
    ]
    encode_all(collected, [*story, text_delta("e"), DONE, text_delta("f")])
    assert (collected.answer.text, collected.answer.reasoning) == ("de", "")
    assert collected.is_finished


@given(st.text(max_size=6), st.lists(st.text(max_size=3), max_size=4))
def test_append_only_text_is_the_newest_text_or_an_error(first: str, parts: list[str]) -> None:
    """An append-only client gets exactly the newest text, or an error."""
    shown, seen = AppendOnlyText(), []
    seen.append(shown.add(first))
    shown.restart()
    try:
        seen += [shown.add(part) for part in parts]
        shown.end()
    except AlreadySentTextChanged:
        assert not "".join(parts).startswith(first)
    else:
        assert "".join(seen) == "".join(parts)


def _received_text(name: str, events: list[Event]) -> str:
    encoder = ENCODERS[name]()
    decoder, text = SseDecoder(), ""
    for message in decoder.feed(b"".join(encode_all(encoder, events))):
        match name:
            case "text":
                text += "" if message.data == "stop" else message.data
            case "envelope":
                text += json.loads(message.data).get("data", "")
            case "chat":
                text += _content(message.data)
            case "messages":
                text += json.loads(message.data).get("delta", {}).get("text", "")
            case _ if message.name == "response.output_text.delta":
                text += json.loads(message.data)["delta"]
            case _:
                pass
    return text


def _content(data: str) -> str:
    choices: list[dict[str, Any]] = json.loads(data)["choices"]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def _strings(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for each in value.values() for text in _strings(each)]
        case list():
            return [text for each in value for text in _strings(each)]
        case _:
            return []
