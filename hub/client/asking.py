"""Questions: how one is asked, and the calls that start, join, stop and restart its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hub.client.call import Call, given_of, path_of, reader

Question = str | Sequence[Mapping[str, Any]]
"""A prompt, or a conversation's messages as OpenAI's chat completions takes them."""


class AskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a question is asked; None leaves it to the hub. params: passed on to the model."""

    model: str | None = None
    upstream: str | None = None
    params: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None


class GenerationStarted(msgspec.Struct, frozen=True):
    """cursor: just before its first event."""

    generation: str
    cursor: str


class _Status(msgspec.Struct, frozen=True):
    status: str


def join_call(generation: str, user: str | None, cursor: str | None) -> Call[None]:
    """GET /generations/{id} as a stream: the hub's own events, whatever the settings show to older
    clients.
    """
    path = path_of("generations", generation, user=user, cursor=cursor, shape="events")
    return Call(method="GET", path=path, read=lambda _: None)


def ask_call(
    question: Question, options: AskOptions, key: str, user: str | None
) -> Call[GenerationStarted]:
    """POST /generations. key: the idempotency key: the same one again joins."""
    name = "prompt" if isinstance(question, str) else "messages"
    body = {name: question, "id": key, **given_of(msgspec.structs.asdict(options))}
    return Call(
        method="POST",
        path=path_of("generations", user=user),
        body=msgspec.json.encode(body),
        read=reader(GenerationStarted),
    )


def stop_call(generation: str, user: str | None) -> Call[str]:
    """DELETE /generations/{id}."""
    read = reader(_Status)
    return Call(
        method="DELETE",
        path=path_of("generations", generation, user=user),
        read=lambda body: read(body).status,
    )


def restart_call(generation: str, key: str, user: str | None) -> Call[GenerationStarted]:
    """POST /generations/{id}/restart. key: as in `ask_call`."""
    return Call(
        method="POST",
        path=path_of("generations", generation, "restart", user=user),
        read=reader(GenerationStarted),
        idempotency_key=key,
    )
