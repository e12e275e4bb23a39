"""What every surface has in common: bytes that known clients survive, and numbers that stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.compat.answer_encoder import AnswerEncoderBase
from hub.compat.answer_state import AlreadySentTextChanged, AnswerCollector, AppendOnlyText
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
    encode_all,
    event,
    histories,
    reasoning_delta,
    text_delta,
    tool_call_delta,
)

_SPLITTERS = "a\u0085b\u2028c\u2029d\r\ne\0f\ufeff"
_STORY = [
    STARTED, reasoning_delta(_SPLITTERS), text_delta(_SPLITTERS),
    tool_call_delta(0, '{"a":1}', id="call_x", name="f"), text_delta("\n"), DONE,
]  # fmt: skip


@pytest.mark.parametrize("name", ENCODERS)
@given(histories)
@settings(max_examples=25, deadline=None)
def test_bytes_that_every_client_survives(name: str, events: list[Event]) -> None:
    """LF only, no byte order mark, no `id:` or `retry:`, every event closed and with data; on
    OpenAI's chat, the AI SDK's and AG-UI's nothing but `data:`.
    """
    surface = ENCODERS[name]()
    chunks = [*encode_all(surface, events), surface.trailer, surface.abort("full", "x")]
    fields = {b"data"} if name in ("chat", "ui", "ui with reset-step", "ag-ui") else {
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


@pytest.mark.parametrize("name", ["chat", "responses", "ui", "ag-ui", "envelope"])
def test_json_stays_on_one_line_for_clients_that_split_on_unicode(name: str) -> None:
    """`str.splitlines` and `iter_lines` break at U+0085, U+2028 and U+2029."""
    surface = ENCODERS[name]()
    text = b"".join(encode_all(surface, _STORY)).decode()
    found = [line for line in text.splitlines() if line.startswith("data: ")]
    assert len(found) == text.count("data: ")
    assert _SPLITTERS in "".join(map(str, _strings([json.loads(line[6:]) for line in found])))


@pytest.mark.parametrize("name", ENCODERS)
@given(histories, st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_chunks_have_the_same_numbers_for_every_reader(
    name: str, events: list[Event], cut: int
) -> None:
    """Whoever joins late and leaves out N chunks gets what the first reader got after N."""
    make = ENCODERS[name]
    whole = encode_all(make(), events)
    for known in {0, min(cut, len(events)), len(events)}:
        early = encode_all(make(), events[:known])
        assert early == whole[: len(early)]
    assert encode_all(make(), events)[cut:] == whole[cut:]


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("end", [DONE, STOPPED, FAILED])
def test_nothing_follows_the_end(name: str, end: Event) -> None:
    """However it ended; before the end it is not over."""
    surface = ENCODERS[name]()
    before = encode_all(surface, [STARTED, text_delta("a")])
    assert not surface.is_finished
    ending = surface.feed(*end)
    assert surface.is_finished
    assert ending
    assert before + list(ending) == encode_all(
        ENCODERS[name](), [STARTED, text_delta("a"), end, text_delta("b")]
    )


@pytest.mark.parametrize("name", ["chat", "responses", "envelope", "text"])
def test_answer_begun_anew_goes_on_without_a_seam_where_it_repeats_itself(name: str) -> None:
    """A client that cannot take anything back sees the text once."""
    text = _shown(
        name, [STARTED, text_delta("Hel"), RESTARTED, text_delta("He"), text_delta("llo"), DONE]
    )
    assert text == "Hello"


@pytest.mark.parametrize("name", ["chat", "responses", "envelope", "text"])
@pytest.mark.parametrize(
    "after",
    [
        [RESTARTED, text_delta("Bye")],
        [RESTARTED, text_delta("H"), DONE],
        [event("replaced", text="Ho")],
    ],
)
def test_answer_that_contradicts_what_was_shown_is_an_error_there(
    name: str, after: list[Event]
) -> None:
    """Never two answers in one, and never less than was shown as if it were whole."""
    surface = ENCODERS[name]()
    chunks = encode_all(surface, [STARTED, text_delta("Hello"), *after])
    assert surface.is_finished
    assert b"generated again" in b"".join(chunks)
    assert surface.feed(*text_delta("more")) == ()


def test_surface_has_a_word_for_all_that_an_answer_says() -> None:
    """One that forgets something cannot be made, instead of failing in the midst of an answer."""

    class Half(AnswerEncoderBase):
        def on_text(self, text: str) -> Iterator[bytes]:
            yield text.encode()

    with pytest.raises(TypeError, match="abstract methods on_done"):
        Half(RECORD)  # type: ignore[abstract]


def test_cumulative_shape_shows_what_is_valid_now() -> None:
    """Each event replaces the one before, so that nothing needs to be taken back."""
    chunks = encode_all(
        ENCODERS["cumulative"](),
        [STARTED, text_delta("Hel"), text_delta("lo"), RESTARTED, text_delta("Bye"), DONE],
    )
    assert chunks == [b"data: Hel\n\n", b"data: Hello\n\n", b"data: Bye\n\n", b"data: [DONE]\n\n"]


def test_collected_answer_is_the_newest_version() -> None:
    """For who waits for the whole, nothing was shown that must be taken back."""
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
def test_shown_never_repeats_and_never_lies(first: str, pieces: list[str]) -> None:
    """What an append-only client was shown is the newest text, or it was told otherwise."""
    shown, seen = AppendOnlyText(), []
    seen.append(shown.add(first))
    shown.restart()
    try:
        seen += [shown.add(piece) for piece in pieces]
        shown.end()
    except AlreadySentTextChanged:
        assert not "".join(pieces).startswith(first)
    else:
        assert "".join(seen) == "".join(pieces)


def _shown(name: str, events: list[Event]) -> str:
    surface = ENCODERS[name]()
    decoder, text = SseDecoder(), ""
    for told in decoder.feed(b"".join(encode_all(surface, events))):
        match name:
            case "text":
                text += "" if told.data == "stop" else told.data
            case "envelope":
                text += json.loads(told.data).get("data", "")
            case "chat":
                text += _content(told.data)
            case _ if told.name == "response.output_text.delta":
                text += json.loads(told.data)["delta"]
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
