"""Requests for answers as the bodies of their HTTP routes, which hub.api checks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hub.api.generation_requests import AnswerRecipient, GenerateBody
from hub.api.json_decoding import decode_json_field
from hub.api.producer_requests import ProduceBody
from hub.core.external_producer import EXTERNAL
from hub.core.generation import Message
from hub.grpc import hub_pb2 as pb


def generate_body(request: pb.GenerateRequest) -> GenerateBody:
    """Convert a request to the body of POST /generations. Raise BadRequest that names the field."""
    return GenerateBody(
        prompt=request.prompt or None,
        messages=_messages(request.messages),
        model=request.model or None,
        upstream=request.upstream or None,
        params=_json_object(request.params, "params"),
        metadata=_json_object(request.metadata, "metadata"),
        chat=request.chat or None,
        on_busy=_on_busy(request.on_busy),
        to=AnswerRecipient(topic=request.topic) if request.topic else None,
        notify=request.notify,
    )


def produce_body(request: pb.StartExternalRequest) -> ProduceBody:
    """Convert a request to the body of POST /generations of the internal listener.

    Raise BadRequest that names the field.
    """
    return ProduceBody(
        to=AnswerRecipient(user=request.user or None, topic=request.topic or None),
        producer=EXTERNAL,
        lease_seconds=request.lease_seconds if request.HasField("lease_seconds") else None,
        prompt=request.prompt or None,
        messages=_messages(request.messages),
        model=request.model or None,
        params=_json_object(request.params, "params"),
        metadata=_json_object(request.metadata, "metadata"),
        chat=request.chat or None,
        on_busy=_on_busy(request.on_busy),
        notify=request.notify,
    )


def _json_object(text: str, path: str) -> dict[str, Any]:
    return decode_json_field(text, dict[str, Any], path) or {}


def _on_busy(value: pb.OnBusy) -> str:
    """Return the value of `on_busy` in the body; one that the hub does not know stays a number."""
    try:
        return pb.OnBusy.Name(value).removeprefix("ON_BUSY_").lower()
    except ValueError:
        return str(value)


def _messages(messages: Iterable[pb.Message]) -> list[Message] | None:
    return [_message(each, n) for n, each in enumerate(messages)] or None


def _message(message: pb.Message, number: int) -> Message:
    at = f"messages[{number}]"
    return Message(
        role=message.role,
        content=message.content
        or decode_json_field(message.content_json, Any, f"{at}.content_json"),
        name=message.name or None,
        tool_calls=decode_json_field(message.tool_calls, list[Any], f"{at}.tool_calls"),
        reasoning_content=message.reasoning_content or None,
        reasoning_details=decode_json_field(
            message.reasoning_details, list[Any], f"{at}.reasoning_details"
        ),
        tool_call_id=message.tool_call_id or None,
    )
