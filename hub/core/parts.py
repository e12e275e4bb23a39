"""Parts: what an answer consists of, while it is produced.

The upstreams of every wire format yield parts, and so does an application's own code. The worker
numbers and publishes them as `generation.*` events (part_events.py), and the record keeps them
folded (folded_parts.py). `type` is the name of a part in JSON, and its fields are those of the
class.

The parts of one answer are complete only with a `Finished` at the end. An upstream that ends
without one has failed (`upstream_truncated`).
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")


def _to_snake_case(class_name: str) -> str:
    return _CAPITAL.sub("_", class_name).lower()


class _Part(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag=_to_snake_case):
    """Base class of the parts."""


class Text(_Part, frozen=True, gc=False):
    """More text of the answer."""

    text: str


class Reasoning(_Part, frozen=True, gc=False):
    """More text of the model's reasoning."""

    text: str


class ReasoningDetails(_Part, frozen=True):
    """More of the reasoning in the vendor's form, which it needs back with the next request.

    The items are those of OpenRouter's `reasoning_details`: `reasoning.text` with its signature,
    `reasoning.summary` and `reasoning.encrypted`.
    """

    details: list[dict[str, Any]]


class ToolCall(_Part, frozen=True):
    """A whole tool call. arguments: JSON text.

    run_by: `producer` if the producer runs the tool and yields its result, `client` if the client
    that asked is to run it. visible: False keeps the call in the record, for producers and the
    internal API only; readers do not see it.
    """

    id: str
    name: str
    arguments: str = "{}"
    run_by: Literal["producer", "client"] = "producer"
    visible: bool = True


class ToolCallDelta(_Part, frozen=True):
    """More of the tool calls, in OpenAI's delta form: `[{index, id, type, function}, …]`.

    The reader of a wire format returns what the server sent; the parts that leave an upstream are
    in the normal form of tool_calls.py. A call has the field `run_by` where it is not `client`.
    """

    calls: list[dict[str, Any]]


class ToolResult(_Part, frozen=True):
    """The result of the tool call with this id, any JSON value. visible: as in ToolCall."""

    id: str
    result: Any
    is_error: bool = False
    visible: bool = True


class Annotations(_Part, frozen=True):
    """Sources of the answer, as OpenAI's chat completions name them: `url_citation` and others."""

    annotations: list[dict[str, Any]]


class Source(_Part, frozen=True):
    """A source of the answer. id: the producer's name of it."""

    url: str
    title: str | None = None
    id: str | None = None


class File(_Part, frozen=True, kw_only=True):
    """A file that belongs to the answer: either its `url` or its `data` in base64."""

    url: str | None = None
    data: str | None = None
    media_type: str
    name: str | None = None


class Status(_Part, frozen=True):
    """What the producer does at the moment. Each one takes the place of the one before."""

    text: str


class StepStart(_Part, frozen=True):
    """A named step of the producer begins."""

    name: str


class StepEnd(_Part, frozen=True):
    """The newest step of this name that has not ended is done."""

    name: str


class Data(_Part, frozen=True):
    """A JSON value of the application's own.

    id: a later value with the same name and id takes the place of this one. transient: live readers
    get it, but the record does not keep it. visible: as in ToolCall.
    """

    name: str
    value: Any
    id: str | None = None
    transient: bool = False
    visible: bool = True


class Replace(_Part, frozen=True, gc=False):
    """The answer is rewritten; `text` is the whole text so far."""

    text: str


class Usage(_Part, frozen=True):
    """Token counts as the upstream reports them, under OpenAI's names."""

    tokens: dict[str, Any]


class Finished(_Part, frozen=True, gc=False):
    """The answer is complete. reason: `stop`, `length`, `tool_calls`, `refusal` and others."""

    reason: str


Part = (
    Text
    | Reasoning
    | ReasoningDetails
    | ToolCall
    | ToolCallDelta
    | ToolResult
    | Annotations
    | Source
    | File
    | Status
    | StepStart
    | StepEnd
    | Data
    | Replace
    | Usage
    | Finished
)
