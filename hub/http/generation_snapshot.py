"""A generation as JSON: what `GET /generations/{id}` returns on both listeners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from hub.core.generation import Generation, Message
from hub.core.system_events import Seconds


class GenerationResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of a generation. The fields after `metadata` describe its end: those that apply
    are present once it has ended.
    """

    generation: str
    user: str
    status: Literal["queued", "running", "stopping", "done", "stopped", "failed"]
    attempt: int
    text: str
    parts: list[dict[str, Any]]
    deltas: int
    model: str
    upstream: str
    messages: list[Message]
    metadata: dict[str, Any]
    chat: str | UnsetType = UNSET
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


def describe_generation(
    record: Generation, parts: Sequence[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the fields of GenerationResponse. parts: None means those that readers see."""
    request = record.request
    return {
        "generation": record.id,
        "user": record.user,
        "status": record.status.value,
        "attempt": record.attempt,
        "text": record.text,
        "parts": record.parts if parts is None else parts,
        "deltas": record.deltas,
        "model": request.model,
        "upstream": request.upstream,
        "messages": request.messages,
        "metadata": request.metadata,
        **({} if request.chat is None else {"chat": request.chat}),
        **end_fields(record.end),
    }


def end_fields(end: Mapping[str, Any]) -> dict[str, Any]:
    """Return what snapshots and lists show of the data of an end event."""
    return {key: value for key, value in end.items() if key not in ("generation", "deltas")}
