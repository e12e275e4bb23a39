"""Inputs: values that an answer asks of people while it is produced.

    waiting ──> received     somebody has given the value
       └──────> expired      nobody has in time

Rules:
1. The key of an input is unique in its generation. Requests and values outlive the attempts of the
   generation: an attempt that asks with a known key asks nothing new.
2. The first value counts, and it is stored in the same step that publishes it.
3. The requests are in the journal of the parts, because the producer numbers them. Values come from
   nodes, which number nothing: they are beside the journal, and are laid over the folded parts.

lua/inputs.lua implements rules 1 and 2 in Redis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

import msgspec

from hub.core.folded_parts import FoldedParts

INPUT_REQUESTED: Final = "generation.input_requested"
INPUT_RECEIVED: Final = "generation.input_received"
INPUT_EXPIRED: Final = "generation.input_expired"
MAX_KEY_CHARS: Final = 256


class InputRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked. The fields mean the same as in Run.input.

    input: the key. schema: a JSON Schema. expires_at: in Unix seconds. approvers: the users beside
    the asker who may answer; readers do not see them.
    """

    input: str
    prompt: str
    expires_at: float
    options: list[str] | None = None
    schema: Any = None
    tool_call: str | None = None
    approvers: list[str] = []

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that readers see."""
        return {
            "input": self.input,
            "prompt": self.prompt,
            "options": self.options,
            "schema": self.schema,
            "expires_at": self.expires_at,
            "tool_call": self.tool_call,
        }


class InputAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The value of an input, or that it has expired.

    data: the JSON of its event. digest: that of the request that was answered. at: when the store
    took it, in Unix seconds.
    """

    event: str
    data: bytes
    digest: str = ""
    at: float = 0.0

    @property
    def is_expired(self) -> bool:
        return self.event == INPUT_EXPIRED

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the event: `value` and `by`, unless the input has expired."""
        fields: dict[str, Any] = msgspec.json.decode(self.data)
        return fields


class StoredInput(msgspec.Struct, frozen=True):
    """An input as the record has it.

    attempt: the newest one that asks for it. answer: None while it waits.
    """

    request: InputRequest
    attempt: int
    answer: InputAnswer | None = None


class RequestedInput(msgspec.Struct, frozen=True):
    """The part of a record's update that asks for an input; a known key keeps its request.

    suspends: the attempt ends with the update, and the value lets the next one begin, unless the
    user has `max_suspended` other answers that wait so.
    """

    request: InputRequest
    suspends: bool = False
    max_suspended: int | None = None


class AnsweredInput(msgspec.Struct, frozen=True):
    """The part of a record's update that answers an input. Its data is that of the event."""

    key: str
    answer: InputAnswer


class ReceivedInput(msgspec.Struct, frozen=True):
    """What has become of an input, as external producers get it.

    n: counts these from 0, in the order of the answers. value: JSON. by: the user who gave it.
    expired: nobody has in time.
    """

    n: int
    input: str
    value: Any = None
    by: str | None = None
    expired: bool = False

    @classmethod
    def of(cls, n: int, event: str, fields: Mapping[str, Any]) -> Self:
        """Return what an event tells. fields: its data."""
        is_expired = event == INPUT_EXPIRED
        return cls(n, fields["input"], fields.get("value"), fields.get("by"), is_expired)


def list_received(inputs: Mapping[str, StoredInput]) -> list[ReceivedInput]:
    """Return the inputs that wait no longer, in the order of their answers."""
    answers = [(key, each.answer) for key, each in inputs.items() if each.answer is not None]
    answers.sort(key=lambda each: (each[1].at, each[0]))
    return [
        ReceivedInput.of(n, answer.event, {"input": key, **answer.fields})
        for n, (key, answer) in enumerate(answers)
    ]


def answered_values(inputs: Mapping[str, StoredInput]) -> dict[str, Any]:
    """Return the values that were received, by key."""
    return {
        key: each.answer.fields["value"]
        for key, each in inputs.items()
        if each.answer is not None and not each.answer.is_expired
    }


def lay_over(folded: FoldedParts, inputs: Iterable[StoredInput]) -> FoldedParts:
    """Apply what the record has beside its journal to the folded parts, and return them."""
    for each in inputs:
        if each.answer is not None:
            folded.apply(each.answer.event, each.answer.fields)
    return folded


def fold_inputs(
    parts: Sequence[Mapping[str, Any]], inputs: Mapping[str, StoredInput]
) -> list[dict[str, Any]]:
    """Return folded parts with what has become of their inputs."""
    return lay_over(FoldedParts(parts), inputs.values()).parts
