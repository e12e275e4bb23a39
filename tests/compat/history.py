"""What happens to a generation, as its events: written by hand, or any at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from hub.compat.ag_ui.encoder import AgUiEncoder
from hub.compat.ai_sdk.encoder import AiSdkEncoder
from hub.compat.openai_chat.encoder import ChatCompletionEncoder
from hub.compat.openai_responses.encoder import ResponsesEncoder
from hub.compat.templates.encoder import BUILT_IN_TEMPLATES, TemplateEncoder
from hub.core.event import encode_json
from hub.core.generation import Generation, GenerationRequest, Message
from hub.ports.compat import AnswerEncoder

Event = tuple[str, bytes]
ID = "g00aaaaaaaaaaaaaaaa"
RECORD = Generation(
    id=ID,
    user="alice",
    request=GenerationRequest(
        [Message(role="user", content="hi")], "main", "m1", metadata={"ids": ["u1"]}
    ),
    requested_at=1_700_000_000.5,
)

ENCODERS: dict[str, Callable[[], AnswerEncoder]] = {
    "chat": lambda: ChatCompletionEncoder(RECORD, include_usage=True),
    "responses": lambda: ResponsesEncoder(RECORD),
    "ui": lambda: AiSdkEncoder(RECORD),
    "ui with reset-step": lambda: AiSdkEncoder(RECORD, reset_step=True),
    "ag-ui": lambda: AgUiEncoder(RECORD),
    "cumulative": lambda: TemplateEncoder(RECORD, BUILT_IN_TEMPLATES["cumulative"]),
    "envelope": lambda: TemplateEncoder(RECORD, BUILT_IN_TEMPLATES["envelope"]),
    "text": lambda: TemplateEncoder(RECORD, BUILT_IN_TEMPLATES["text"]),
}


def event(name: str, **fields: Any) -> Event:
    """As the log has it."""
    return f"generation.{name}", encode_json({"generation": ID, **fields})


STARTED = event("started", attempt=1, model="m1")
RESTARTED = event("restarted", attempt=2, model="m1")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
DONE = event("done", finish_reason="stop", usage=USAGE)
STOPPED = event("stopped", by="alice", usage=None)
FAILED = event("failed", code="upstream_truncated", message="it broke off", retryable=True)


def text_delta(text: str) -> Event:
    """More text."""
    return event("delta", i=0, text=text)


def reasoning_delta(text: str) -> Event:
    """More reasoning."""
    return event("delta", i=0, reasoning=text)


def tool_call_delta(index: int, arguments: str, **head: Any) -> Event:
    """A piece of a tool call."""
    name = {"name": head.pop("name")} if "name" in head else {}
    call = {
        "index": index,
        **head,
        "type": "function",
        "function": {**name, "arguments": arguments},
    }
    return event("delta", i=0, tool_calls=[call])


def encode_all(surface: AnswerEncoder, events: list[Event]) -> list[bytes]:
    """All of them, without the trailer."""
    found = list(surface.start())
    for name, data in events:
        found += surface.feed(name, data)
    return found


_text = st.text(min_size=1, max_size=8)
_call = st.builds(
    lambda index, arguments, id_, name: tool_call_delta(index, arguments, **id_, **name),
    st.integers(0, 2),
    st.sampled_from(["", "{", '{"a":1}', "}"]),
    st.sampled_from([{}, {"id": "call_a"}, {"id": "call_b"}]),
    st.sampled_from([{}, {"name": "f"}]),
)
histories = st.builds(
    lambda middle, end: [STARTED, *middle, *end],
    st.lists(
        st.one_of(
            _text.map(text_delta),
            _text.map(reasoning_delta),
            _call,
            _text.map(lambda text: event("replaced", i=0, text=text)),
            st.just(RESTARTED),
        ),
        max_size=12,
    ),
    st.sampled_from([[], [DONE], [STOPPED], [FAILED]]),
)
