"""What the hub's own AG-UI and AI SDK streams say of an answer, read as an upstream, is the answer.

So a hub can stand behind a hub, and both sides of each protocol agree on all parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.compat.ag_ui.encoder import AgUiEncoder
from hub.compat.ai_sdk.encoder import AiSdkEncoder
from hub.core.call_numbers import CallNumbers
from hub.core.event import encode_json
from hub.core.folded_parts import FoldedParts
from hub.core.generation import Generation, GenerationRequest, Message
from hub.core.part_events import to_event
from hub.core.parts import (
    Annotations,
    Data,
    File,
    Finished,
    Part,
    Reasoning,
    ReasoningDetails,
    Replace,
    Source,
    Status,
    StepEnd,
    StepStart,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from hub.errors import UpstreamError
from hub.ports.compat import AnswerEncoder
from hub.upstreams.ag_ui.dialect import AgUi
from hub.upstreams.ai_sdk.dialect import AiSdk
from hub.upstreams.dialect import Dialect
from hub.upstreams.reading.stream_reader import StreamReader

ID = "g00aaaaaaaaaaaaaaaa"
CLIENT_TOOL = {"type": "function", "function": {"name": "open"}}
REQUEST = GenerationRequest(
    [Message("user", "hi")], "main", "m1", {"tools": [CLIENT_TOOL]}, {"ids": ["u1"]}
)
RECORD = Generation(id=ID, user="alice", request=REQUEST)
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
Events = list[tuple[str, dict[str, Any]]]

FORMATS: dict[str, tuple[Callable[[], AnswerEncoder], Dialect]] = {
    "ag_ui": (lambda: AgUiEncoder(RECORD), AgUi({})),
    "ag_ui 1.0": (lambda: AgUiEncoder(RECORD, has_activities=True), AgUi({})),
    "ai_sdk": (lambda: AiSdkEncoder(RECORD), AiSdk({})),
    "ai_sdk with reset-step": (lambda: AiSdkEncoder(RECORD, reset_step=True), AiSdk({})),
}

_TEXT = st.text(alphabet="aé\x00\u2028😀", min_size=1, max_size=3)
_WORD = st.sampled_from(["a", "b", "c"])
_JSON: st.SearchStrategy[Any] = st.sampled_from(["x", "", [1], [], {"a": {"b": 2}}, {}])
_DETAILS = st.lists(st.fixed_dictionaries({"x": st.integers(0, 9)}), min_size=1, max_size=2)
_CARRIED: dict[str, st.SearchStrategy[Part]] = {
    "ag_ui": st.one_of(
        st.builds(Annotations, _DETAILS),
        st.builds(Source, _WORD, st.none() | _WORD, st.none() | _WORD),
        st.builds(File, url=_WORD, media_type=_WORD, name=st.none() | _WORD),
        st.builds(File, data=_WORD, media_type=_WORD, name=st.none() | _WORD),
        st.builds(Data, _WORD, _JSON),
    ),
    "ai_sdk": st.one_of(
        st.builds(Source, _WORD, st.none() | _WORD, _WORD),
        st.builds(File, url=_WORD, media_type=_WORD),
        st.builds(File, data=_WORD, media_type=_WORD),
        st.builds(Data, _WORD, _JSON, st.none() | _WORD, transient=st.booleans()),
    ),
}


@st.composite
def answers(draw: st.DrawFn, name: str) -> list[Part]:
    """Return the parts of an answer that the format can carry as they are."""
    is_ai_sdk = name.startswith("ai_sdk")
    one = st.one_of(
        st.builds(Text, _TEXT),
        st.builds(Reasoning, _TEXT),
        st.builds(ReasoningDetails, _DETAILS),
        st.builds(Status, _TEXT),
        st.builds(Replace, _TEXT),
        st.sampled_from(["call", "result", "ask", "step", "end"]),
        _CARRIED["ai_sdk" if is_ai_sdk else "ag_ui"],
    )
    parts: list[Part] = []
    calls, open_calls, steps, running = 0, list[str](), 0, list[str]()
    for drawn in draw(st.lists(one, max_size=12)):
        match drawn:
            case "call" | "ask":
                calls += 1
                is_clients = drawn == "ask"
                run_by: Any = "client" if is_clients else "producer"
                tool = "open" if is_clients else "find"
                arguments = draw(st.sampled_from(["{}", '{"a":1}', '{"b":"é"}']))
                parts.append(ToolCall(f"c{calls}", tool, arguments, run_by))
                open_calls += [] if is_clients else [f"c{calls}"]
            case "result" if open_calls:
                id_ = open_calls.pop(draw(st.integers(0, len(open_calls) - 1)))
                is_error = is_ai_sdk and draw(st.booleans())
                result = draw(_TEXT if is_error else _JSON)
                parts.append(ToolResult(id_, result, is_error))
            case "step":
                steps += 1  # AG-UI's steps have names, those of the AI SDK are counted
                running.append(f"step {steps + 1}")
                parts.append(StepStart(running[-1]))
            case "end" if running:
                parts.append(StepEnd(running.pop()))
            case str():
                pass
            case part:
                parts.append(part)
    return [*parts, *(ToolResult(id_, "late") for id_ in open_calls)]


def to_events(parts: Sequence[Part]) -> Events:
    """Return the events of an answer with these parts."""
    return [to_event(part) for part in CallNumbers().number(parts)]


def fold(events: Events) -> list[dict[str, Any]]:
    folded = FoldedParts()
    for name, fields in [*events, ("generation.done", {})]:
        folded.apply(name, fields)
    return folded.parts


def encode(name: str, events: Events, end: tuple[str, dict[str, Any]]) -> bytes:
    """Return the stream of an answer in a format."""
    encoder = FORMATS[name][0]()
    chunks = [*encoder.start()]
    started = ("generation.started", {"attempt": 1, "model": "m1"})
    for event, fields in [started, *events, end]:
        chunks += encoder.feed(event, encode_json({"generation": ID, **fields}))
    return b"".join(chunks) + encoder.trailer


def read(name: str, stream: bytes, size: int = 7) -> list[Part]:
    """Return what an upstream reads of a stream that comes in chunks of a size."""
    reader = StreamReader(FORMATS[name][1], 1_000_000, (), REQUEST)
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    parts = [part for chunk in chunks for part in reader.feed(chunk)]
    parts += reader.end()
    if reader.failure:
        raise reader.failure
    return parts + reader.finish()


@pytest.mark.parametrize("name", ["ag_ui", "ag_ui 1.0", "ai_sdk"])
@given(data=st.data())
def test_round_trip(name: str, data: st.DataObject) -> None:
    """The folded parts, the usage and the reason of the end are the same."""
    parts = data.draw(answers(name))
    reason = "tool_calls" if any(getattr(p, "run_by", "") == "client" for p in parts) else "stop"
    end = ("generation.done", {"finish_reason": reason, "usage": USAGE})
    events = to_events(parts)
    again = read(name, encode(name, events, end), data.draw(st.integers(1, 99)))
    assert again[-1] == Finished(reason)
    assert [part.tokens for part in again if isinstance(part, Usage)] == [USAGE]
    seen = [part for part in again if not isinstance(part, Usage | Finished)]
    assert fold(to_events(seen)) == fold(events)


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize(
    ("end", "message"),
    [
        (("generation.failed", {"code": "x", "message": "no memory"}), "no memory"),
        (("generation.stopped", {"by": "alice"}), ""),
    ],
)
def test_ends_that_are_none(name: str, end: tuple[str, dict[str, Any]], message: str) -> None:
    """A failed answer and a stopped one are failures, with the words of the other hub."""
    with pytest.raises(UpstreamError) as caught:
        read(name, encode(name, to_events([Text("a")]), end))
    assert caught.value.code == "upstream_error"
    assert message in caught.value.message


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_restart(name: str) -> None:
    """What a hub has sent before it began again is void."""
    end = ("generation.done", {"finish_reason": "stop", "usage": USAGE})
    restarted = ("generation.restarted", {"attempt": 2})
    events = [*to_events([Text("a"), Reasoning("r"), Text("b")]), restarted]
    again = read(name, encode(name, [*events, *to_events([Text("c"), Text("d")])], end))
    text = FoldedParts()
    for event, fields in to_events([p for p in again if not isinstance(p, Usage | Finished)]):
        text.apply(event, fields)
    assert text.text == "cd"


def test_state() -> None:
    """The record of a run has its newest state, and only the changes after it."""
    change = [{"op": "replace", "path": "/n", "value": 2}]
    states: list[Part] = [
        *(Data("state", {"n": 0}), Data("state_delta", change), Data("state_delta", change)),
        *(Data("state", {"n": 1}), Data("state_delta", change)),
    ]
    end = ("generation.done", {"finish_reason": "stop", "usage": USAGE})
    again = read("ag_ui", encode("ag_ui", to_events(states), end))
    seen = [part for part in again if not isinstance(part, Usage | Finished)]
    assert [(each["name"], each["value"]) for each in fold(to_events(seen))] == [
        ("state", {"n": 1}),
        ("state_delta", change),
        ("state_delta", []),
    ]
