"""A simulated LLM for conversations with a tool, over chat completions, OpenAI's Responses
and Anthropic's Messages.

It calls the tool for each city that the user's message names, and its text repeats the results. It
notes what it said and what it was sent, so that a test can compare the two. A conversation is
identified by the `model` of its requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from aiohttp import web

from tests.interop.python.turns import weather

CITIES: Final = ("Tromsø", "Köln", "São Paulo")
_PAUSE_SECONDS: Final = 0.005  # longer than generations.flush_seconds of these tests
_USAGE: Final = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
_USAGE_CHUNK: Final = {
    "choices": [],
    "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
}
Line = tuple[Any, ...]
"""A line of a conversation: `("user", text)`, or with another role; `("reasoning", text)`;
`("call", id, name, arguments)`; or `("result", id, text)`."""


class WeatherLlm:
    """requests: the conversations that it was sent, as lines. answers: what it answered.

    Both are by model. reports_usage: whether it counts the tokens.
    """

    def __init__(self, *, reports_usage: bool) -> None:
        self.requests: dict[str, list[list[Line]]] = defaultdict(list)
        self.answers: dict[str, list[list[Line]]] = defaultdict(list)
        self._reports_usage = reports_usage
        self._numbers = itertools.count()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_post("/v1/responses", self._respond)
        app.router.add_post("/v1/messages", self._create_message)
        return app

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        lines = [line for message in body["messages"] for line in _chat_lines(message)]
        answer = self._answer(body, lines)
        chunks = [*_chat_chunks(answer), *([_USAGE_CHUNK] if self._reports_usage else [])]
        return await _send(request, [*map(_sse, chunks), b"data: [DONE]\n\n"])

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        answer = self._answer(body, [line for item in body["input"] for line in _item_lines(item)])
        *events, end = _response_events(answer)
        end["response"]["usage"] = _USAGE if self._reports_usage else None
        return await _send(request, map(_sse, [*events, end]))

    async def _create_message(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        lines = [line for each in body["messages"] for line in _message_lines(each)]
        events = _message_events(self._answer(body, lines))
        return await _send(request, map(_sse, events))

    def _answer(self, body: dict[str, Any], conversation: list[Line]) -> list[Line]:
        self.requests[body["model"]].append(conversation)
        answer = list(self._choose(body, conversation))
        self.answers[body["model"]].append(answer)
        return answer

    def _choose(self, body: dict[str, Any], conversation: list[Line]) -> Iterator[Line]:
        """Yield reasoning, then calls for the cities of the prompt, or a text with the results."""
        number = next(self._numbers)
        yield ("reasoning", f"I think, number {number}.")
        results = list(itertools.takewhile(lambda line: line[0] == "result", conversation[::-1]))
        if results:
            texts = [result.splitlines()[-1] for _, _, result in reversed(results)]
            yield ("assistant", "Simulated: " + "; ".join(texts) + ".")
            return
        cities = [city for city in CITIES if city in str(conversation[-1][-1])]
        if len(cities) > 1:
            yield ("assistant", f"Simulated: I look, number {number}.")
        for city in cities:
            yield ("call", f"call_{number}_{CITIES.index(city)}", *_choose_tool(body, city))


def result_of(call: Line) -> Line:
    """Return the line that the client must send for a call."""
    (city,) = (city for city in CITIES if city in str(call[-1]))
    return ("result", call[1], weather(city))


def _choose_tool(body: dict[str, Any], city: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments of the call: the shell if the client has one."""
    names = [tool.get("function", tool).get("name") for tool in body["tools"]]
    if "exec_command" in names:
        return "exec_command", {"cmd": f"echo '{weather(city)}'"}
    return "weather", {"city": city}


def _chat_lines(message: dict[str, Any]) -> Iterator[Line]:
    """Yield the lines of a message of chat completions."""
    text = _text(message.get("content"))
    if message["role"] == "tool":
        yield ("result", message["tool_call_id"], text)
        return
    if message.get("reasoning_content"):
        yield ("reasoning", message["reasoning_content"])
    if text:
        yield (message["role"], text)
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield ("call", call["id"], function["name"], json.loads(function["arguments"]))


def _item_lines(item: dict[str, Any]) -> Iterator[Line]:
    """Yield the line of an input item of Responses."""
    match item.get("type", "message"):
        case "message":
            yield (item["role"], _text(item["content"]))
        case "reasoning":
            yield ("reasoning", item["encrypted_content"])
        case "function_call":
            yield ("call", item["call_id"], item["name"], json.loads(item["arguments"]))
        case "function_call_output":
            yield ("result", item["call_id"], _text(item["output"]))


def _message_lines(message: dict[str, Any]) -> Iterator[Line]:
    """Yield the lines of a message of Anthropic's API, which checks what it has signed."""
    content = message["content"]
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    for block in blocks:
        match block["type"]:
            case "text":
                yield (message["role"], block["text"])
            case "thinking":
                is_signed = block["signature"] == _sign(block["thinking"])
                yield ("reasoning", block["thinking"] if is_signed else "the signature is wrong")
            case "tool_use":
                yield ("call", block["id"], block["name"], block["input"])
            case "tool_result":
                yield ("result", block["tool_use_id"], _text(block["content"]))


def _text(content: Any) -> str:
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return "".join(part["text"] for part in parts)


def _chat_chunks(answer: list[Line]) -> Iterator[dict[str, Any]]:
    """Yield the chunks of an answer; the arguments of parallel calls alternate."""
    calls: list[tuple[int, str]] = []
    for line in answer:
        match line:
            case ("reasoning", text):
                # One delta: openai-node keeps only the last one of a field that it does not know.
                yield _delta(reasoning_content=text)
            case ("assistant", text):
                yield from (_delta(content=part) for part in _halves(text))
            case (_, id_, name, arguments):
                function = {"name": name, "arguments": ""}
                call = {"id": id_, "type": "function", "function": function}
                yield _delta(tool_calls=[{"index": len(calls), **call}])
                calls.append((len(calls), json.dumps(arguments, ensure_ascii=False)))
    for half in (0, 1):
        for index, arguments in calls:
            function = {"arguments": _halves(arguments)[half]}
            yield _delta(tool_calls=[{"index": index, "function": function}])
    reason = "tool_calls" if calls else "stop"
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def _response_events(answer: list[Line]) -> Iterator[dict[str, Any]]:
    """Yield the events of an answer; the client gets a summary of reasoning that is encrypted."""
    output: list[dict[str, Any]] = []
    part: dict[str, Any]
    item: dict[str, Any]
    for n, line in enumerate(answer):
        match line:
            case ("reasoning", text):
                kind = "reasoning_summary_text"
                part = {"type": "summary_text", "text": "A summary."}
                item = {"type": "reasoning", "id": f"rs_{n}", "summary": [part],
                        "encrypted_content": text}  # fmt: skip
                deltas = _halves(part["text"])
            case ("assistant", text):
                kind, part = "output_text", {"type": "output_text", "text": text, "annotations": []}
                item = {"type": "message", "id": f"msg_{n}", "role": "assistant", "content": [part]}
                deltas = _halves(text)
            case (_, id_, name, arguments):
                kind, text = "function_call_arguments", json.dumps(arguments, ensure_ascii=False)
                item = {"type": "function_call", "id": f"fc_{n}", "call_id": id_, "name": name,
                        "arguments": text}  # fmt: skip
                deltas = _halves(text)
            case _:
                raise ValueError(line)
        head = {"output_index": n, "item_id": item["id"], "content_index": 0}
        yield {"type": "response.output_item.added", **head, "item": {**item, "arguments": ""}}
        for delta in deltas:
            yield {"type": f"response.{kind}.delta", **head, "delta": delta}
        yield {"type": "response.output_item.done", **head, "item": item}
        output.append(item)
    response = {"status": "completed", "output": output}
    yield {"type": "response.completed", "response": response}


def _message_events(answer: list[Line]) -> Iterator[dict[str, Any]]:
    """Yield the events of an answer over Anthropic's API."""
    usage = {"input_tokens": 7, "output_tokens": 1}
    block: dict[str, Any]
    yield {"type": "message_start", "message": {"role": "assistant", "usage": usage}}
    for index, line in enumerate(answer):
        match line:
            case ("reasoning", text):
                block = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": each} for each in _halves(text)]
                deltas.append({"type": "signature_delta", "signature": _sign(text)})
            case ("assistant", text):
                block = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": each} for each in _halves(text)]
            case (_, id_, name, arguments):
                block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
                text = json.dumps(arguments, ensure_ascii=False)
                deltas = [
                    {"type": "input_json_delta", "partial_json": each} for each in _halves(text)
                ]
            case _:
                raise ValueError(line)
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    has_calls = any(line[0] == "call" for line in answer)
    reason = {"stop_reason": "tool_use" if has_calls else "end_turn"}
    yield {"type": "message_delta", "delta": reason, "usage": {"output_tokens": 5}}
    yield {"type": "message_stop"}


def _sign(thinking: str) -> str:
    """Return the signature of thinking, which only this LLM can make."""
    return hashlib.sha256(thinking.encode()).hexdigest()


def _delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields}]}


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def _sse(event: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(event).encode()


async def _send(request: web.Request, events: Iterable[bytes]) -> web.StreamResponse:
    """Send the events with pauses, so that the hub does not join them."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in events:
        await response.write(event)
        await asyncio.sleep(_PAUSE_SECONDS)
    return response
