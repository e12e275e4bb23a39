"""A generation as JSON: whole, as `GET /generations/{id}` returns it on both listeners, and as the
entry of a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from hub.core.folded_parts import visible_parts
from hub.core.generation import Generation, Message
from hub.core.system_events import Seconds
from hub.ports.generations import GenerationSummary

StatusName = Literal[
    "queued", "running", "waiting", "suspended", "stopping", "done", "stopped", "failed"
]


class _Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot and the entry of a list have in common."""

    generation: str
    status: StatusName
    attempt: int
    deltas: int
    requested_at: float
    model: str
    upstream: str
    chat: str | UnsetType = UNSET
    topic: str | UnsetType = UNSET
    finish_reason: str | UnsetType | None = UNSET
    by: str | UnsetType | None = UNSET
    code: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    retryable: bool | UnsetType = UNSET
    upstream_status: int | UnsetType = UNSET
    upstream_code: str | UnsetType = UNSET
    upstream_param: str | UnsetType = UNSET
    usage: dict[str, Any] | UnsetType | None = UNSET
    seconds: Seconds | UnsetType = UNSET


class GenerationResponse(_Description, frozen=True, kw_only=True):
    """A snapshot of a generation. `requested_at` is in Unix seconds. In a topic, only the user who
    asked gets `messages` and `metadata`. `inputs` is present on the internal listener. From
    `finish_reason` to `seconds`, the fields describe its end: those that apply are present once it
    has ended.
    """

    user: str
    text: str
    parts: list[dict[str, Any]]
    inputs: list[KeptInput] | UnsetType = UNSET
    messages: list[Message] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class KeptInput(msgspec.Struct, frozen=True):
    """An input of a generation. `digest` is that of what was shown to `by` (prompt, options and
    schema), and `at` the time of the answer in Unix seconds.
    """

    input: str
    state: Literal["waiting", "received", "expired"]
    approvers: list[str]
    by: str | UnsetType = UNSET
    at: float | UnsetType = UNSET
    digest: str | UnsetType = UNSET


class ListedGeneration(_Description, frozen=True, kw_only=True):
    """One of a user's generations. `requested_at` is in Unix seconds. The other fields are those of
    `GET /generations/{id}`.
    """

    metadata: dict[str, Any]


def describe_generation(
    record: Generation, *, has_hidden_parts: bool = False, has_request: bool = True
) -> dict[str, Any]:
    """Return the fields of GenerationResponse.

    has_hidden_parts: whether the parts that readers do not see are among the parts. has_request:
    whether it says what was asked.
    """
    request, folded = record.request, record.fold()
    conversation = {"messages": request.messages, "metadata": request.metadata}
    return {
        "generation": record.id,
        "user": record.user,
        "status": record.status.value,
        "attempt": record.attempt,
        "text": folded.text,
        "parts": folded.parts if has_hidden_parts else visible_parts(folded.parts),
        "deltas": record.deltas,
        "requested_at": record.requested_at,
        "model": request.model,
        "upstream": request.upstream,
        **({"inputs": _describe_inputs(record)} if has_hidden_parts else {}),
        **(conversation if has_request else {}),
        **_optional_fields(request.chat, request.topic, record.end),
    }


def describe_summary(summary: GenerationSummary) -> dict[str, Any]:
    """Return the fields of ListedGeneration."""
    return {
        "generation": summary.id,
        "status": summary.status.value,
        "attempt": summary.attempt,
        "deltas": summary.deltas,
        "requested_at": summary.requested_at,
        "model": summary.model,
        "upstream": summary.upstream,
        "metadata": summary.metadata,
        **_optional_fields(summary.chat, summary.topic, summary.end),
    }


def _describe_inputs(record: Generation) -> list[KeptInput]:
    kept = []
    for key, stored in record.inputs.items():
        approvers, answer = stored.request.approvers, stored.answer
        if answer is None:
            kept.append(KeptInput(key, "waiting", approvers))
        elif answer.is_expired:
            kept.append(KeptInput(key, "expired", approvers, at=answer.at))
        else:
            by = answer.fields["by"]
            kept.append(KeptInput(key, "received", approvers, by, answer.at, answer.digest))
    return kept


def _optional_fields(chat: str | None, topic: str | None, end: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that not every generation has. end: the data of the end event."""
    optional = {"chat": chat, "topic": topic}
    fields = {name: value for name, value in optional.items() if value is not None}
    return fields | {k: v for k, v in end.items() if k not in ("generation", "deltas")}
