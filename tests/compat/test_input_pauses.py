"""Streams that end at an input, and the streams behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.compat.ag_ui.encoder import AgUiEncoder
from hub.compat.ag_ui.requests import Resume
from hub.compat.ai_sdk.encoder import AiSdkEncoder
from hub.compat.ai_sdk.requests import UiMessage, read_decisions
from hub.compat.input_pauses import Decision, PausingEncoder
from hub.core.generation import Generation, Status
from hub.core.inputs import INPUT_RECEIVED, InputAnswer, InputRequest, StoredInput
from hub.core.parts import Part
from hub.errors import BadRequest
from tests.compat.history import DONE, FAILED, ID, RECORD, RESTARTED, Event, encode_all, event
from tests.compat.test_function_streams import FUNCTIONS, events_of
from tests.properties import limit_examples

OPTIONS = st.sampled_from([None, ["yes", "no"], ["a", "b", "c"]])
DIALECTS: dict[str, Callable[..., PausingEncoder]] = {
    "ui": AiSdkEncoder,
    "ag-ui": lambda *given, **options: AgUiEncoder(*given, has_activities=True, **options),
}
FRAME = frozenset({"start", "start-step", "finish-step", "finish", "RUN_STARTED", "RUN_FINISHED"})
CLOSING = frozenset({"TOOL_CALL_END", "STEP_STARTED", "STEP_FINISHED", "CUSTOM generation"})
"""What depends on where a stream of AG-UI ends: a run closes its calls and steps."""


def requested(key: str, options: list[str] | None = None, tool_call: str | None = None) -> Event:
    """Return the request of an input."""
    fields: dict[str, Any] = {"input": key, "prompt": f"{key}?", "options": options}
    fields |= {"schema": None, "expires_at": 1_800_000_000.0, "tool_call": tool_call}
    return event("input_requested", i=0, **fields)


def received(key: str, value: Any = "yes") -> Event:
    """Return the value of an input."""
    return event("input_received", input=key, value=value, by="alice")


def record_with(keys: Sequence[str], answered: Sequence[str]) -> Generation:
    """Return a record with inputs."""
    answer = InputAnswer(event=INPUT_RECEIVED, data=received("x")[1])
    inputs = {
        key: StoredInput(
            InputRequest(input=key, prompt="?", expires_at=1.0),
            1,
            answer if key in answered else None,
        )
        for key in keys
    }
    return msgspec.structs.replace(RECORD, inputs=inputs)


def types_of(chunks: Sequence[bytes]) -> list[str]:
    """Return the types of chunks, without the frame of a stream."""
    values = [msgspec.json.decode(chunk.removeprefix(b"data: ")) for chunk in chunks]
    kinds = [
        f"CUSTOM {value['name']}" if value["type"] == "CUSTOM" else value["type"]
        for value in values
    ]
    return [kind for kind in kinds if kind not in FRAME | CLOSING]


def feed(encoder: PausingEncoder, events: list[Event]) -> list[bytes]:
    """Return the chunks of a stream, which ends early or not."""
    chunks = [*encoder.start()]
    for name, data in events:
        if not encoder.is_finished:
            chunks += encoder.feed(name, data)
    return chunks


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@settings(deadline=None, max_examples=limit_examples(40))
@given(values=FUNCTIONS, options=st.lists(OPTIONS, min_size=1, max_size=3), data=st.data())
async def test_streams_behind_inputs_continue(
    dialect: str, values: list[Part], options: list[list[str] | None], data: st.DataObject
) -> None:
    """Wherever an answer asks, the streams together have each chunk once, in order."""
    events = events_of(values)
    indexes = [data.draw(st.integers(1, len(events) - 1)) for _ in options]
    keys = [f"key{n}" for n in range(len(options))]
    for key, given_options, index in sorted(
        zip(keys, options, indexes, strict=True), key=lambda each: each[2], reverse=True
    ):
        events[index:index] = [requested(key, given_options), received(key)]
    requested_keys = [
        msgspec.json.decode(data)["input"] for name, data in events if name.endswith("_requested")
    ]
    whole = feed(DIALECTS[dialect](record_with(keys, keys)), events)
    streams = [feed(DIALECTS[dialect](record_with(keys, [])), events)]
    for n, key in enumerate(requested_keys, 1):
        behind = DIALECTS[dialect](record_with(keys, requested_keys[:n]), behind=key)
        streams.append(feed(behind, events))
    for stream in streams:
        kinds = [msgspec.json.decode(chunk.removeprefix(b"data: "))["type"] for chunk in stream]
        assert (kinds[0], kinds[-1]) in (("start", "finish"), ("RUN_STARTED", "RUN_FINISHED"))
    assert types_of([chunk for stream in streams for chunk in stream]) == types_of(whole)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("end", [DONE, FAILED], ids=["done", "failed"])
def test_answer_that_ended_before_its_input(dialect: str, end: Event) -> None:
    """A client that comes too late, or whose answer has begun anew, gets at least the end."""
    encoder = DIALECTS[dialect](record_with([], []), behind="gone")
    chunks = encode_all(encoder, [("generation.started", b"{}"), RESTARTED, end])
    kinds = [msgspec.json.decode(chunk.removeprefix(b"data: "))["type"] for chunk in chunks]
    assert kinds[0] in ("start", "RUN_STARTED")
    assert kinds[-1] in ("finish", "RUN_FINISHED", "RUN_ERROR")


STOPPED = event("stopped", by="alice", deltas=2)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("behind", [None, "a", "b"])
@pytest.mark.parametrize("end", [DONE, FAILED, STOPPED], ids=["done", "failed", "stopped"])
def test_answer_that_ended_while_it_waited(dialect: str, behind: str | None, end: Event) -> None:
    """Nothing waits after the end, so every stream has the end of the answer."""
    record = record_with(["a", "b"], [])
    record = msgspec.structs.replace(record, status=Status.STOPPED)
    events = [requested("a", ["yes", "no"]), requested("b"), end]
    chunks = feed(DIALECTS[dialect](record, behind=behind), events)
    alone = feed(DIALECTS[dialect](record), [end])
    assert chunks[-1] == alone[-1]


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_stream_behind_an_input_that_is_not_answered_yet(dialect: str) -> None:
    """A stream does not end at the input behind which it begins."""
    encoder = DIALECTS[dialect](record_with(["a"], []), behind="a")
    feed(encoder, [requested("a")])
    assert not encoder.is_finished


APPROVAL = {"type": "tool-refund", "toolCallId": "c", "state": "approval-responded"}
CLIENT = {"type": "tool-locate", "toolCallId": "d", "state": "output-available", "output": 1}
CALLED, BY_HUB = {"state": "input-available"}, {"providerExecuted": True}
OUTPUT = {"type": "dynamic-tool", "toolName": "request_input", "state": "output-available"}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([{**APPROVAL, "approval": {"id": f"{ID}/a/b", "approved": False}}], [("a/b", False)]),
        ([{**OUTPUT, "toolCallId": f"{ID}/k", "output": {"n": 1}}], [("k", {"n": 1})]),
        (
            [
                {**APPROVAL, "approval": {"id": f"{ID}/a", "approved": True}},
                {**OUTPUT, "toolCallId": f"{ID}/k", "output": None},
            ],
            [("a", True), ("k", None)],
        ),
        ([{**APPROVAL, "approval": {"id": "theirs", "approved": True}}], []),
        ([{**APPROVAL, "approval": {"id": f"{ID}/a"}}], []),
        ([{**APPROVAL, "approval": None}], []),
        ([{**OUTPUT, "toolCallId": 5, "output": 1}], []),
        ([{**OUTPUT, "toolCallId": f"{ID}/", "output": 1}], []),
        ([{"type": "text", "approval": {"id": f"{ID}/a", "approved": True}}], []),
        ([{**OUTPUT, "toolCallId": f"{ID}/a", "output": 1}, CLIENT], []),
        ([{**OUTPUT, "toolCallId": f"{ID}/a", "output": 1}, {**CLIENT, **BY_HUB}], [("a", 1)]),
        ([{**OUTPUT, "toolCallId": f"{ID}/a", "output": 1}, {**CLIENT, **CALLED}], [("a", 1)]),
        ([CLIENT, {**OUTPUT, "toolCallId": f"{ID}/a", "output": 1}], [("a", 1)]),
        (
            [
                {**OUTPUT, "toolCallId": f"{ID}/a", "output": 1},
                {**APPROVAL, "state": "output-denied", "approval": {"id": f"{ID}/b"}},
            ],
            [("a", 1)],
        ),
    ],
)
def test_decisions_of_a_message(
    parts: list[dict[str, Any]], expected: list[tuple[str, Any]]
) -> None:
    """Only the tool parts of the last message, which is the assistant's, decide inputs.

    A result of the client's own tool behind them asks for a new answer.
    """
    message = UiMessage("assistant", parts=parts)
    assert read_decisions([message]) == [Decision(ID, *each) for each in expected]
    assert read_decisions([message, UiMessage("user")]) == []


@pytest.mark.parametrize(
    ("resume", "expected"),
    [
        (Resume(f"{ID}/a", payload={"approved": True}), Decision(ID, "a", True)),
        (Resume(f"{ID}/a", payload={"approved": "x"}), Decision(ID, "a", {"approved": "x"})),
        (Resume(f"{ID}/a", "cancelled"), Decision(ID, "a", False, is_cancelled=True)),
    ],
)
def test_decision_of_a_resumed_run(resume: Resume, expected: Decision) -> None:
    """An object with `approved` is a decision, every other payload the value."""
    assert resume.to_decision() == expected


def test_interrupt_of_somebody_else() -> None:
    """An interrupt that is not the hub's is refused, and no new answer is generated for it."""
    with pytest.raises(BadRequest, match="interruptId"):
        Resume("other").to_decision()
