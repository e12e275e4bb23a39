"""The input items of a response, read back from the messages that the hub stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from hub.compat.openai_responses.kept_items import kept_items
from hub.core.generation import Generation, Message
from hub.errors import BadRequest


def messages_without_instructions(record: Generation) -> list[Message]:
    """Return the messages of the request of an answer, without the `instructions`."""
    messages, instructions = record.request.messages, record.request.metadata.get("instructions")
    if messages and (messages[0].role, messages[0].content) == ("system", instructions):
        return messages[1:]
    return messages


def input_items(record: Generation) -> list[dict[str, Any]]:
    """Return the items of the input, those of earlier answers included."""
    messages = messages_without_instructions(record)
    items = [each for message in messages for each in describe_message(message)]
    prefixes = {"message": "msg", "function_call": "fc", "function_call_output": "fco"}
    return [
        {
            "id": f"{prefixes.get(item['type'], 'item')}_{record.id}_in{n}",
            "status": "completed",
            **item,
        }
        for n, item in enumerate(items)
    ]


def page_of(
    items: list[dict[str, Any]], *, limit: int, is_ascending: bool, after: str | None
) -> dict[str, Any]:
    """Return a page as OpenAI's lists have it. after: the id of the last item that was read.

    Raise BadRequest.
    """
    rest = items if is_ascending else items[::-1]
    if after is not None:
        ids = [item["id"] for item in rest]
        if after not in ids:
            raise BadRequest("after must be the id of an item of this list", path="after")
        rest = rest[ids.index(after) + 1 :]
    data = rest[:limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(rest) > limit,
    }


def describe_message(message: Message) -> Iterator[dict[str, Any]]:
    """Yield a message as items of Responses, without ids."""
    if items := kept_items(message):
        yield from items
        return
    if message.role == "tool":
        output = message.content if isinstance(message.content, str) else _json(message.content)
        fields = {"call_id": message.tool_call_id, "output": output}
        yield {"type": "function_call_output", **fields}
        return
    if message.content is not None:
        content = [_part(message.role, part) for part in _parts(message.content)]
        yield {"type": "message", "role": message.role, "content": content}
    for given in message.tool_calls or ():
        call = _object(given)
        function = _object(call.get("function"))
        fields = {"call_id": call.get("id"), "name": function.get("name")}
        yield {"type": "function_call", **fields, "arguments": function.get("arguments") or ""}


def _parts(content: Any) -> list[dict[str, Any]]:
    parts = content if isinstance(content, list) else [content]
    return [part if isinstance(part, dict) else {"type": "text", "text": part} for part in parts]


def _part(role: str, part: dict[str, Any]) -> dict[str, Any]:
    """Return a part of chat completions as Responses names it."""
    match part.get("type"):
        case "text" if role == "assistant":
            return {"type": "output_text", "text": part.get("text"), "annotations": []}
        case "text":
            return {"type": "input_text", "text": part.get("text")}
        case "image_url":
            image = part.get("image_url")
            fields = image if isinstance(image, dict) else {"url": image}
            detail = fields.get("detail", "auto")
            return {"type": "input_image", "image_url": fields.get("url"), "detail": detail}
        case "file":
            return {"type": "input_file", **_object(part.get("file"))}
        case _:
            return part


def text_of(parts: list[dict[str, Any]]) -> str:
    """Return the text of content parts; the type of another part stands for it."""
    return "".join(
        str(part["text"]) if part.get("text") is not None else f"[{part.get('type')}]"
        for part in parts
    )


def _object(value: Any) -> dict[str, Any]:
    """Return an object, empty for any other value: the hub passes on what it does not know."""
    return value if isinstance(value, dict) else {}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
