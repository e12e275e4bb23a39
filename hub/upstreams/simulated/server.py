"""The simulated LLM: a real HTTP server with built-in answers, in every wire format the hub reads.

It serves `hub dev`, demonstrations and tests. It is labelled as simulated in the name of its model,
in the text of every answer and in the header `X-Simulated`. Each wire format has its path. A flag
selects one fault:

    refuse        503 to every request
    flaky:N       503 to the first N requests
    busy:N        429 with `Retry-After: 1` to the first N requests
    status:CODE   that status to every request
    hang          no byte is ever sent
    stall:N       nothing more is sent after N tokens
    cut:N         the connection is closed after N tokens
    truncate:N    the stream ends after N tokens without a finish
    error:N       the stream reports an error after N tokens
    garbage:N     the stream has meaningless bytes after N tokens
    line:BYTES    one line of so many bytes that does not end
    endless       the answer is repeated forever
    forget        an answer in background mode is not found again
    no-prefill    400 to a request whose last message is the beginning of the answer

A last message of the assistant is continued where its vendors do so: in Anthropic's format, and
with `prefix` or `continue_final_message` in OpenAI's. In background mode of the Responses API,
`cut:N` closes each connection after N events, and the answer goes on (simulated/background.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from hub.errors import OperatorError
from hub.upstreams.simulated.answers import choose_answer, split_tokens
from hub.upstreams.simulated.background import BackgroundAnswers
from hub.upstreams.simulated.formats import (
    CHUNK,
    MODEL,
    AgUiFormat,
    AiSdkFormat,
    AnthropicFormat,
    ChatGlmFormat,
    DashScopeFormat,
    EnvelopeFormat,
    Format,
    OllamaFormat,
    OpenAiFormat,
    ResponsesFormat,
    WordsFormat,
    XinferenceFormat,
)

_HEADERS: Final = {"X-Simulated": "true", "Cache-Control": "no-store"}
_PLAIN_FAULTS: Final = ("refuse", "hang", "endless", "forget", "no-prefill")
_NUMBERED_FAULTS: Final = (
    *("flaky", "busy", "status", "stall", "cut", "truncate", "error", "garbage", "line"),
)
_FORMATS: Final[Mapping[str, Callable[[], Format]]] = {
    "/xinference/v1/chat/completions": XinferenceFormat,
    "/v1/responses": ResponsesFormat,
    "/v1/messages": AnthropicFormat,
    "/api/chat": OllamaFormat,
    "/api/v1/services/aigc/text-generation/generation": DashScopeFormat,
    "/ag-ui": AgUiFormat,
    "/api/ui-chat": AiSdkFormat,
    "/chatglm": ChatGlmFormat,
    "/envelope": EnvelopeFormat,
    "/words": WordsFormat,
}


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """How the server answers.

    tokens_per_second: the speed of an answer. first_token_seconds: the delay before it.
    network_chunk_bytes: None writes one event at a time; a number cuts the bytes into chunks of
    that size, which splits characters. fault: one of those listed above.
    """

    tokens_per_second: float
    first_token_seconds: float
    network_chunk_bytes: int | None
    fault: str | None

    def parse_fault(self) -> tuple[str, int]:
        """Return the fault and its number. Raise OperatorError for an unknown fault."""
        kind, _, number = (self.fault or "").partition(":")
        if kind in ("", *_PLAIN_FAULTS) and not number:
            return kind, 0
        if kind in _NUMBERED_FAULTS and number.isdigit():
            return kind, int(number)
        known = ", ".join([*_PLAIN_FAULTS, *(f"{each}:N" for each in _NUMBERED_FAULTS)])
        raise OperatorError(f"there is no fault {self.fault!r}; use one of {known}")


class _Body(msgspec.Struct):
    """The fields of a request that any of the formats uses."""

    messages: list[dict[str, Any]] | None = None
    input: Any = None
    prompt: str | None = None
    model: str = MODEL
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    background: bool | None = None
    continue_final_message: bool | None = None

    def conversation(self) -> list[dict[str, Any]]:
        """Return the messages; empty when the request has none."""
        if self.prompt is not None:
            return [{"role": "user", "content": self.prompt}]
        messages = self.messages or self.input or []
        if isinstance(messages, dict):
            messages = messages.get("messages") or []
        return [message for message in messages if isinstance(message, dict)]

    def split_prefix(self, form: Format | None) -> tuple[str, str]:
        """Return the prompt, and the beginning of the answer that the request has."""
        conversation = self.conversation()
        last = conversation[-1] if conversation else {}
        is_marked = bool(last.get("prefix") or self.continue_final_message)
        if last.get("role") != "assistant" or not (is_marked or isinstance(form, AnthropicFormat)):
            return _last_prompt(conversation), ""
        return _last_prompt(conversation[:-1]), _last_prompt(conversation)


class _AnswerBroken(Exception):
    """The selected fault ends the answer now."""


class SimulatedUpstream:
    """The handlers of the server and their counters."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._fault, self._fault_number = simulation.parse_fault()
        self._requests = 0
        self._started = 0  # answers that were started
        self._running = 0  # answers that run now
        self._cut = 0  # answers whose client disconnected
        self._continued = 0  # answers whose request had their beginning
        self._background = BackgroundAnswers(
            events_per_connection=self._fault_number if self._fault == "cut" else None,
            is_forgetful=self._fault == "forget",
        )

    def app(self) -> web.Application:
        """Return the application.

        Serve it with handler_cancellation, so that it notices a disconnected client at once.
        """
        app = web.Application()
        app.on_response_prepare.append(_add_headers)
        app.on_cleanup.append(self._close)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self.complete),
                *(web.post(path, self.answer) for path in _FORMATS),
                web.get("/v1/responses/{id}", self._background.attach),
                web.post("/v1/responses/{id}/cancel", self._background.cancel),
                web.get("/envelope", self.answer),
                web.get("/words", self.answer),
                web.get("/v1/models", self.models),
                web.get("/healthz", self.health),
                web.get("/stats", self.stats),
            ]
        )
        return app

    async def models(self, request: web.Request) -> web.Response:
        """List the only model."""
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "simulation"}
        return _json({"object": "list", "data": [model]})

    async def health(self, request: web.Request) -> web.Response:
        """Answer 200 while the server runs."""
        return _json({"status": "ok"})

    async def stats(self, request: web.Request) -> web.Response:
        """Return how many answers were started, run now, lost their client, and so on."""
        counts = {"started": self._started, "running": self._running, "cut": self._cut}
        more = {"continued": self._continued, "cancelled": self._background.cancelled}
        return _json({**counts, **more})

    async def _close(self, app: web.Application) -> None:
        await self._background.close()

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat completions request, as a stream or as one JSON object."""
        try:
            body = msgspec.json.decode(await request.read(), type=_Body)
        except msgspec.DecodeError as error:
            return _error(400, f"this is not a chat completions request: {error}")
        if not body.conversation():
            return _error(400, "this is not a chat completions request: messages is empty")
        include_usage = bool((body.stream_options or {}).get("include_usage"))
        form = OpenAiFormat(include_usage=include_usage) if body.stream else None
        return await self._respond(request, body, form)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request in the format of its path, as a stream."""
        try:
            if request.method == "GET":
                body = _Body(prompt=request.query.get("prompt", ""))
            else:
                body = msgspec.json.decode(await request.read(), type=_Body)
        except msgspec.DecodeError as error:
            return _error(400, f"this request is invalid: {error}")
        form = _FORMATS[request.path]()
        if isinstance(form, DashScopeFormat):
            form.incremental = bool((body.parameters or {}).get("incremental_output"))
        return await self._respond(request, body, form)

    async def _respond(
        self, request: web.Request, body: _Body, form: Format | None
    ) -> web.StreamResponse:
        """Answer, or fail by the selected fault. form: None means one JSON object."""
        self._requests += 1
        is_early = self._requests <= self._fault_number
        if self._fault == "refuse" or (self._fault == "flaky" and is_early):
            return _error(503, f"the simulated LLM refuses (fault {self._fault})")
        if self._fault == "busy" and is_early:
            return _error(429, "the simulated LLM is busy (fault busy)", retry_after=1)
        if self._fault == "status":
            return _error(self._fault_number, "the simulated LLM fails (fault status)")
        prefix = body.split_prefix(form)[1]
        if prefix and self._fault == "no-prefill":
            return _error(400, "This model does not support assistant message prefill.")
        if prefix != prefix.rstrip() and isinstance(form, AnthropicFormat):
            return _error(400, "final assistant content cannot end with trailing whitespace")
        self._started += 1
        self._continued += bool(prefix)
        if body.background and isinstance(form, ResponsesFormat):
            return await self._background.begin(request, partial(self._generate, body))
        self._running += 1
        try:
            if self._fault == "hang":
                await asyncio.Event().wait()
            if form is not None:
                return await self._stream(request, body, form)
            return _json(_build_completion(body))
        except (asyncio.CancelledError, ConnectionError):  # ConnectionError without cancellation
            self._cut += 1
            raise
        finally:
            self._running -= 1

    async def _generate(self, body: _Body, form: Format) -> AsyncIterator[bytes]:
        """Yield the events of an answer in background mode."""
        self._running += 1
        try:
            async for events in self._events(body, form):
                yield events
        except _AnswerBroken:
            pass
        finally:
            self._running -= 1

    async def _stream(self, request: web.Request, body: _Body, form: Format) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": form.content_type})
        await response.prepare(request)
        size = self._simulation.network_chunk_bytes
        try:
            async for event in self._events(body, form):
                for start in range(0, len(event), size or len(event) or 1):
                    await response.write(event[start : start + (size or len(event))])
                    if size is not None:
                        await asyncio.sleep(0)  # so that each chunk tends to be its own packet
        except _AnswerBroken:
            if self._fault == "cut" and request.transport is not None:
                request.transport.abort()
        return response

    async def _events(self, body: _Body, form: Format) -> AsyncIterator[bytes]:
        prompt, prefix = body.split_prefix(form)
        tokens = split_tokens(choose_answer(prompt).removeprefix(prefix))
        yield form.start()
        await asyncio.sleep(self._simulation.first_token_seconds)
        due = time.monotonic()
        while True:
            for number, token in enumerate(tokens):
                async for event in self._apply_fault(number, form, body):
                    yield event
                yield form.token(token)
                due += 1 / self._simulation.tokens_per_second
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
            if self._fault != "endless":
                break
        yield form.end(_count_usage(body.conversation(), len(tokens)))

    async def _apply_fault(self, number: int, form: Format, body: _Body) -> AsyncIterator[bytes]:
        """Yield what the fault inserts before a token; raise _AnswerBroken if nothing follows."""
        if self._fault == "line" and number == 0:
            block = b"x" * 65536
            for _ in range(self._fault_number // len(block) + 1):
                yield block
            raise _AnswerBroken
        if number != self._fault_number:
            return
        match self._fault:
            case "cut" if not body.background:
                raise _AnswerBroken
            case "truncate":
                raise _AnswerBroken
            case "stall":
                await asyncio.Event().wait()
            case "error":
                yield form.error("the simulated LLM fails (fault error)")
                raise _AnswerBroken
            case "garbage":
                yield b"data: \xff\xfe{]not JSON\n\n" * 3
                raise _AnswerBroken


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Label every response as simulated, also those of aiohttp itself (404, 405, 413)."""
    response.headers.update(_HEADERS)


def _last_prompt(conversation: list[dict[str, Any]]) -> str:
    last = conversation[-1] if conversation else {}
    content = last.get("content", last.get("parts"))
    if isinstance(content, list):  # or the parts of a UI message
        texts = (part.get("text", "") for part in content if isinstance(part, dict))
        return " ".join(str(text) for text in texts)
    return str(content or "")


def _build_completion(body: _Body) -> dict[str, Any]:
    text = choose_answer(_last_prompt(body.conversation()))
    message = {"role": "assistant", "content": text}
    return {
        **CHUNK,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _count_usage(body.conversation(), len(split_tokens(text))),
    }


def _count_usage(conversation: list[dict[str, Any]], completion: int) -> dict[str, int]:
    prompt = sum(len(split_tokens(str(each.get("content") or ""))) for each in conversation)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _json(value: Any) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, content_type="application/json")


def _error(status: int, message: str, *, retry_after: int | None = None) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.Response(
        status=status,
        headers={} if retry_after is None else {"Retry-After": str(retry_after)},
        body=msgspec.json.encode({"error": error}),
        content_type="application/json",
    )
