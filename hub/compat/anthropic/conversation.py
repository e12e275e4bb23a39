"""Messages of Anthropic's API in the words of chat completions, for the upstreams of other kinds.

Source: docs.claude.com, "Messages" (API reference), "Tool use", "Vision" and "PDF support". The
results of tools stand in the message of a user there and are messages of their own here. What has
no counterpart in an assistant's message, such as a search that Anthropic ran, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import structlog

from hub.api.null_members import drop_null_members
from hub.compat.anthropic.thinking import read_details
from hub.core.generation import Message
from hub.error_codes import UNSUPPORTED_PARAMETER
from hub.errors import BadRequest

Content = str | list[dict[str, Any]]
_SEPARATOR: Final = "\n\n"  # between the texts of separate blocks of a user
_ERROR: Final = "Error: "
_CALL_FIELDS: Final = {"type", "id", "name", "input", "cache_control", "caller"}
_TITLE_FIELDS: Final = ("title", "source", "context")
_log = structlog.get_logger(__name__)


def to_messages(system: Content | None, messages: Sequence[tuple[str, Content]]) -> list[Message]:
    """Return the messages, the system prompt first. messages: their roles and contents.

    Raise BadRequest for what the hub cannot pass on.
    """
    converted: list[Message] = []
    if system:
        converted.append(Message(role="system", content=_to_text(system, "system")))
    for n, (role, content) in enumerate(messages):
        path = f"messages[{n}]"
        blocks = content if isinstance(content, str) else [*map(drop_null_members, content)]
        match role:
            case "user":
                converted += _user_messages(blocks, path)
            case "assistant":
                converted += _assistant_messages(blocks, path)
            case "system":
                converted.append(Message(role="system", content=_to_text(blocks, path)))
            case _:
                raise BadRequest(
                    f"{path}: the hub does not support the role {role!r}",
                    code=UNSUPPORTED_PARAMETER,
                    path=f"{path}.role",
                )
    return converted


def _to_text(content: Content, path: str) -> str:
    """Return a content that may only have text."""
    if isinstance(content, str):
        return content
    parts = _to_parts(content, path)
    if any(part["type"] != "text" for part in parts):
        raise BadRequest(f"{path} may only have text", code=UNSUPPORTED_PARAMETER, path=path)
    return _SEPARATOR.join(part["text"] for part in parts)


def _user_messages(content: Content, path: str) -> Iterator[Message]:
    """Yield the results of tools, and then a message with everything else.

    Chat completions allow only text in a result; its images and files follow in the message.
    """
    if isinstance(content, str):
        yield Message(role="user", content=content)
        return
    parts: list[dict[str, Any]] = []
    has_results = False
    for n, block in enumerate(content):
        at = f"{path}.content[{n}]"
        if block.get("type") != "tool_result":
            parts += _to_parts([block], at)
            continue
        has_results = True
        id_, (text, media) = _required(block, "tool_use_id", at), _read_result(block, at)
        yield Message(role="tool", tool_call_id=id_, content=text)
        parts += media
    if parts or not has_results:
        yield Message(role="user", content=_simplify(parts))


def _read_result(block: dict[str, Any], path: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the text of a tool's result, and its images and files."""
    content = block.get("content") or ""
    if isinstance(content, str):
        parts = [{"type": "text", "text": content}] if content else []
    elif isinstance(content, list) and all(isinstance(each, dict) for each in content):
        blocks = [drop_null_members(each) for each in content]
        parts = _to_parts([each for each in blocks if each.get("type") != "tool_reference"], path)
    else:
        raise BadRequest(f"{path}.content must be a string or a list of blocks", path=path)
    text = _SEPARATOR.join(part["text"] for part in parts if part["type"] == "text")
    media = [part for part in parts if part["type"] != "text"]
    if block.get("is_error") and not text.lower().startswith("error"):
        text = _ERROR + text  # a result has no field for it
    return text, media


def _to_parts(blocks: Sequence[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    """Return the blocks of a user as the parts of chat completions; empty texts have none."""
    return [part for block in blocks for part in _to_block_parts(block, path)]


def _to_block_parts(block: dict[str, Any], path: str) -> Iterator[dict[str, Any]]:
    match block.get("type"):
        case "text":
            if text := _required(block, "text", path, may_be_empty=True):
                yield {"type": "text", "text": text}
        case "image":
            yield {"type": "image_url", "image_url": {"url": _url(_source(block, path), path)}}
        case "document":
            yield from _document(block, path)
        case "search_result":
            content = block.get("content")
            texts = content if isinstance(content, list) else []
            yield _titled(block, _to_text([each for each in texts if isinstance(each, dict)], path))
        case _:
            raise _unsupported(f"blocks of type {block.get('type')!r}", path)


def _document(block: dict[str, Any], path: str) -> Iterator[dict[str, Any]]:
    source = _source(block, path)
    match source.get("type"):
        case "text":
            yield _titled(block, _required(source, "data", path, may_be_empty=True))
        case "content":
            inner = source.get("content")
            blocks = [{"type": "text", "text": inner}] if isinstance(inner, str) else inner
            if not isinstance(blocks, list) or not all(isinstance(each, dict) for each in blocks):
                raise BadRequest(f"{path}.source.content must be blocks", path=path)
            yield from _to_parts([*map(drop_null_members, blocks)], path)
        case "file":
            yield {"type": "file", "file": {"file_id": _required(source, "file_id", path)}}
        case _:
            name = {"filename": block["title"]} if block.get("title") else {}
            yield {"type": "file", "file": {"file_data": _url(source, path), **name}}


def _titled(block: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a document's text with what the block says about it."""
    heads = [block[name] for name in _TITLE_FIELDS if isinstance(block.get(name), str)]
    return {"type": "text", "text": _SEPARATOR.join(filter(None, [*heads, text]))}


def _source(block: dict[str, Any], path: str) -> dict[str, Any]:
    source = block.get("source")
    if not isinstance(source, dict):
        raise BadRequest(f"{path} has no source", path=path)
    return drop_null_members(source)


def _url(source: dict[str, Any], path: str) -> str:
    match source.get("type"):
        case "url":
            return _required(source, "url", path)
        case "base64":
            media_type, data = (_required(source, name, path) for name in ("media_type", "data"))
            return f"data:{media_type};base64,{data}"
        case kind:
            raise _unsupported(f"sources of type {kind!r} there", path)


def _assistant_messages(content: Content, path: str) -> Iterator[Message]:
    """Yield the message, none if nothing of it has a counterpart."""
    if isinstance(content, str):
        yield Message(role="assistant", content=content)
        return
    texts, reasoning, left_out = list[str](), list[str](), set[str]()
    details, calls = list[dict[str, Any]](), list[dict[str, Any]]()
    for n, block in enumerate(content):
        match block.get("type"):
            case "text":
                texts.append(_required(block, "text", path, may_be_empty=True))
            case "thinking":
                reasoning.append(str(block.get("thinking") or ""))
                details += read_details(block)
            case "redacted_thinking":
                details += read_details(block)
            case "tool_use":
                calls.append(_call(block, f"{path}.content[{n}]"))
            case kind:
                left_out.add(str(kind)[:40])
    if left_out:
        _log.info("messages.blocks_left_out", types=sorted(left_out))
    text = "".join(texts)
    if text or calls or not content:
        yield Message(
            role="assistant",
            content=text or (None if calls else ""),
            tool_calls=calls or None,
            reasoning_content="\n".join(filter(None, reasoning)) or None,
            reasoning_details=details or None,
        )


def _call(block: dict[str, Any], path: str) -> dict[str, Any]:
    id_, name = _required(block, "id", path), _required(block, "name", path)
    arguments = msgspec.json.encode(block.get("input", {})).decode()
    extras = {field: block[field] for field in block.keys() - _CALL_FIELDS}
    function = {"name": name, "arguments": arguments}
    return {**extras, "id": id_, "type": "function", "function": function}


def _simplify(parts: list[dict[str, Any]]) -> Any:
    """Join parts that are all text into one string, which every upstream accepts."""
    if all(part["type"] == "text" for part in parts):
        return _SEPARATOR.join(part["text"] for part in parts)
    return parts


def _required(block: dict[str, Any], name: str, path: str, *, may_be_empty: bool = False) -> str:
    value = block.get(name)
    if not isinstance(value, str) or not (value or may_be_empty):
        raise BadRequest(f"{path} has no {name}", path=path)
    return value


def _unsupported(what: str, path: str) -> BadRequest:
    return BadRequest(
        f"{path}: the hub does not support {what}", code=UNSUPPORTED_PARAMETER, path=path
    )
