"""Questions: how one is asked, and the calls that start, join, stop and restart its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hub.client.request import Request, build_path, given_fields, response_reader

Prompt = str | Sequence[Mapping[str, Any]]
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


def join_request(generation: str, user: str | None, cursor: str | None) -> Request[None]:
    """GET /generations/{id} as a stream: the hub's own events, whatever the settings show to older
    clients.
    """
    path = build_path("generations", generation, user=user, cursor=cursor, shape="events")
    return Request(method="GET", path=path, read=lambda _: None)


def ask_request(
    question: Prompt, options: AskOptions, key: str, user: str | None
) -> Request[GenerationStarted]:
    """POST /generations. key: the idempotency key: the same one again joins."""
    name = "prompt" if isinstance(question, str) else "messages"
    body = {name: question, "id": key, **given_fields(msgspec.structs.asdict(options))}
    return Request(
        method="POST",
        path=build_path("generations", user=user),
        body=msgspec.json.encode(body),
        read=response_reader(GenerationStarted),
    )


def stop_request(generation: str, user: str | None) -> Request[str]:
    """DELETE /generations/{id}."""
    read = response_reader(_Status)
    return Request(
        method="DELETE",
        path=build_path("generations", generation, user=user),
        read=lambda body: read(body).status,
    )


def restart_request(generation: str, key: str, user: str | None) -> Request[GenerationStarted]:
    """POST /generations/{id}/restart. key: as in `ask_call`."""
    return Request(
        method="POST",
        path=build_path("generations", generation, "restart", user=user),
        read=response_reader(GenerationStarted),
        idempotency_key=key,
    )
