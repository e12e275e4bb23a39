"""POST /v1/responses/compact: a conversation replaced by its user's messages and a summary.

Source: platform.openai.com, API reference, "Compact a response". The LLM writes the summary. The
client sends the output back as the beginning of its next input and does not look into the item
`compaction`. Its `encrypted_content` is the summary as a message of the assistant, together with
the tool calls that have no output yet; it is encoded and not encrypted, because it is the user's
own, and every node can read it without a key.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from hub.api.generation_requests import GenerateBody
from hub.compat.answer_state import AnswerState
from hub.compat.openai_responses.input_items import describe_message, text_of
from hub.compat.openai_responses.response_object import describe_usage
from hub.core.generation import Generation, Message
from hub.errors import BadRequest

_PREFIX: Final = "hub1."
_ID_PREFIX: Final = "cmp"
_INSTRUCTIONS: Final = (
    "You receive the transcript of a conversation between a user and an assistant. Write a summary "
    "from which the assistant can continue the conversation without the transcript. Keep the goals "
    "and requirements of the user, decisions, names, numbers, code, results of tools, and what is "
    "still to be done. Write only the summary."
)
_decode_messages: Final = msgspec.json.Decoder(list[Message]).decode


class CompactBody(msgspec.Struct, frozen=True):
    """The fields that the hub reads. `upstream` is the hub's own."""

    model: str
    input: str | list[dict[str, Any]] = []
    instructions: str | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    upstream: str | None = None


def build_summary_request(body: CompactBody, messages: Sequence[Message]) -> GenerateBody:
    """Return the generation of the summary. Raise BadRequest for an empty conversation."""
    if not messages:
        raise BadRequest("give the conversation: input or previous_response_id", path="input")
    instructions = [body.instructions] if body.instructions else []
    transcript = "\n".join(line for message in messages for line in _describe(message))
    key = {"prompt_cache_key": body.prompt_cache_key} if body.prompt_cache_key else {}
    return GenerateBody(
        messages=[
            Message("system", "\n\n".join([_INSTRUCTIONS, *instructions])),
            Message("user", f"<transcript>\n{transcript}\n</transcript>"),
        ],
        model=body.model,
        upstream=body.upstream,
        params=key,
        metadata={"compaction": True},
        on_disconnect="stop",  # nobody could read the result
    )


def compaction_document(
    record: Generation, answer: AnswerState, messages: Sequence[Message]
) -> dict[str, Any]:
    """Return the response to a compaction. messages: the conversation."""
    users = [message for message in messages if message.role == "user"]
    items = [item for message in users for item in describe_message(message)]
    output: list[dict[str, Any]] = [
        {"id": f"msg_{record.id}_{n}", "status": "completed", **item}
        for n, item in enumerate(items)
    ]
    summary = Message("assistant", answer.text, tool_calls=_open_calls(messages) or None)
    output.append(
        {
            "id": f"{_ID_PREFIX}_{record.id}_{len(items)}",
            "type": "compaction",
            "encrypted_content": _encode([summary]),
        }
    )
    return {
        "id": f"resp_{record.id}",
        "object": "response.compaction",
        "created_at": int(record.requested_at),
        "output": output,
        "usage": describe_usage(answer.end.usage),
    }


def is_compaction(item: dict[str, Any]) -> bool:
    """Return whether an item of the input is a compaction of the hub, and of no other server."""
    content = item.get("encrypted_content")
    is_own = isinstance(content, str) and content.startswith(_PREFIX)
    return is_own and item.get("type") in ("compaction", "compaction_summary")


def read_compaction(content: str, path: str) -> list[Message]:
    """Return the messages of a compaction of the hub. Raise BadRequest."""
    try:
        encoded = base64.b64decode(content.removeprefix(_PREFIX), altchars=b"-_", validate=True)
        return _decode_messages(encoded)
    except (ValueError, RecursionError):  # of base64, or of JSON
        raise BadRequest(
            "encrypted_content is not whole; send the item as you received it",
            path=f"{path}.encrypted_content",
        ) from None


def _encode(messages: list[Message]) -> str:
    return _PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(messages)).decode()


def _open_calls(messages: Sequence[Message]) -> list[Any]:
    """Return the tool calls that have no output yet; the client sends it after the compaction."""
    outputs = {message.tool_call_id for message in messages if message.role == "tool"}
    calls = [call for message in messages for call in message.tool_calls or ()]
    return [call for call in calls if isinstance(call, dict) and call.get("id") not in outputs]


def _describe(message: Message) -> Iterator[str]:
    """Yield the lines of a transcript."""
    for item in describe_message(message):
        match item["type"]:
            case "message":
                yield f"{message.role}: {text_of(item['content'])}"
            case "function_call":
                yield f"assistant calls {item['name']}({item['arguments']})"
            case "function_call_output":
                yield f"result of {item['call_id']}: {item['output']}"
            case kind:
                yield f"[{kind}]"
