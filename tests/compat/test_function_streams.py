"""openai-python accepts the streams of functions, whatever the functions yield.

tests/interop/test_parts.py feeds the same streams to the AI SDK and to AG-UI.
"""

from __future__ import annotations

import httpx2
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.compat.answer_state import AnswerCollector
from hub.core.call_numbers import CallNumbers
from hub.core.durable import PartOrCommand
from hub.core.event import encode_json
from hub.core.part_events import to_event
from hub.core.parts import Data, Part, ToolCallDelta
from hub.producer.output import OutputBuffer
from hub.producer.protocol import End
from tests import sdks
from tests.compat.history import DONE, ENCODERS, ID, RECORD, STARTED, Event, encode_all
from tests.parts import REPLACE, WHOLE_PARTS
from tests.properties import limit_examples

_STATES: st.SearchStrategy[Part] = st.sampled_from(
    [
        Data("state", {"a": [1]}),
        Data("state_delta", [{"op": "add", "path": "/b", "value": 1}]),
    ]
)
_CALLS: st.SearchStrategy[Part] = st.builds(
    lambda index, arguments: ToolCallDelta(
        [{"index": index, "id": f"d{index}", "function": {"name": "f", "arguments": arguments}}]
    ),
    st.integers(0, 2),
    st.sampled_from(["", "{", "{}", "}"]),
)
APPENDING = st.lists(st.one_of(WHOLE_PARTS, _CALLS, _STATES), max_size=15)
FUNCTIONS = st.lists(st.one_of(WHOLE_PARTS, _CALLS, _STATES, REPLACE), max_size=15)
"""What functions yield. OpenAI's APIs cannot take text back, so their streams only append."""


def events_of(values: list[Part]) -> list[Event]:
    """Return the events of an answer whose function yields these values."""
    sent: list[PartOrCommand] = []
    buffer = OutputBuffer(2**20, lambda parts, _: sent.extend(parts))
    for value in values:
        for part, size in buffer.read(value):
            buffer.add(part, size)
    buffer.finish(End())
    buffer.pull()
    parts = [part for part in sent if isinstance(part, Part)]
    published = [to_event(part) for part in CallNumbers().number(parts)]
    shown = [(name, fields) for name, fields in published if fields.get("visible", True)]
    numbered = [
        (name, encode_json({"generation": ID, "i": i, **fields}))
        for i, (name, fields) in enumerate(shown)
    ]
    return [STARTED, *numbered, DONE]


def stream_of(name: str, events: list[Event]) -> bytes:
    """Return the whole stream in a dialect."""
    encoder = ENCODERS[name]()
    return b"".join(encode_all(encoder, events)) + encoder.trailer


def openai_client(body: bytes) -> sdks.openai.OpenAI:
    """Return a client whose server answers each request with these bytes."""
    headers = {"Content-Type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=body))
    http = httpx2.Client(transport=transport)
    return sdks.openai.OpenAI(
        base_url="http://hub/v1", api_key="x", max_retries=0, http_client=http
    )


@settings(deadline=None, max_examples=limit_examples(25))
@given(APPENDING)
async def test_openai_python(values: list[Part]) -> None:
    """The stream helpers of both APIs read every stream, and have the text and the calls."""
    events = events_of(values)
    collected = AnswerCollector(RECORD)
    encode_all(collected, events)
    answer = collected.answer
    with (
        openai_client(stream_of("chat", events)) as client,
        client.chat.completions.stream(
            model="m1", messages=[{"role": "user", "content": "hi"}]
        ) as completion,
    ):
        for _ in completion:
            pass
        message = completion.get_final_completion().choices[0].message
    calls = [call.name for call in answer.tool_calls if call.run_by == "client"]
    assert [call.function.name for call in message.tool_calls or ()] == calls
    with (
        openai_client(stream_of("responses", events)) as client,
        client.responses.stream(model="m1", input="hi") as stream,
    ):
        for _ in stream:
            pass
        response = stream.get_final_response()
    assert response.output_text == answer.text
