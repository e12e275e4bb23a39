"""The simulated LLM: a real HTTP server with answers known by heart, in every format the hub reads.

For `hub dev`, demonstrations and tests. It says that it is simulated in its model's name, in every
answer's text and in the header `X-Simulated`. Each format has its path; faults are chosen by a
flag:

    refuse        503 to every question
    flaky:N       503 to the first N questions
    busy:N        429 with `Retry-After: 1` to the first N questions
    status:CODE   that status
    hang          no byte, ever
    stall:N       silence after N tokens
    cut:N         the connection is cut after N tokens
    truncate:N    the stream ends after N tokens without a finish
    error:N       an error inside the stream after N tokens
    garbage:N     bytes that mean nothing after N tokens
    line:BYTES    one line of so many bytes, and no end of it
    endless       the answer again and again
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from hub.errors import OperatorError
from hub.upstreams.simulated_answers import answer_to, tokens_of
from hub.upstreams.simulated_formats import (
    CHUNK,
    MODEL,
    Anthropic,
    ChatGlm,
    DashScope,
    Enveloped,
    Format,
    Ollama,
    OpenAi,
    Responses,
    Words,
    Xinference,
)

_HEADERS: Final = {"X-Simulated": "true", "Cache-Control": "no-store"}
_WITHOUT_NUMBER: Final = ("refuse", "hang", "endless")
_WITH_NUMBER: Final = (
    *("flaky", "busy", "status", "stall", "cut", "truncate", "error", "garbage", "line"),
)
_PATHS: Final[Mapping[str, Callable[[], Format]]] = {
    "/xinference/v1/chat/completions": Xinference,
    "/v1/responses": Responses,
    "/v1/messages": Anthropic,
    "/api/chat": Ollama,
    "/api/v1/services/aigc/text-generation/generation": DashScope,
    "/chatglm": ChatGlm,
    "/envelope": Enveloped,
    "/words": Words,
}


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """How it answers.

    network_chunk_bytes: None sends an event at a time; a number cuts the bytes at every so many,
    so that characters are split over network chunks.
    """

    tokens_per_second: float = 30.0
    first_token_seconds: float = 0.2
    network_chunk_bytes: int | None = None
    fault: str | None = None

    def fault_kind(self) -> tuple[str, int]:
        """The fault and its number. Raises OperatorError for one that there is not."""
        kind, _, number = (self.fault or "").partition(":")
        if kind in ("", *_WITHOUT_NUMBER) and not number:
            return kind, 0
        if kind in _WITH_NUMBER and number.isdigit():
            return kind, int(number)
        known = ", ".join([*_WITHOUT_NUMBER, *(f"{each}:N" for each in _WITH_NUMBER)])
        raise OperatorError(f"there is no fault {self.fault!r}; there are {known}")


class _SimulatedRequest(msgspec.Struct):
    """The fields that any of the formats asks with."""

    messages: list[dict[str, Any]] | None = None
    input: Any = None
    prompt: str | None = None
    model: str = MODEL
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None

    def turns(self) -> list[dict[str, Any]]:
        """The conversation; empty when there is none."""
        if self.prompt is not None:
            return [{"role": "user", "content": self.prompt}]
        given = self.messages or self.input or []
        if isinstance(given, dict):
            given = given.get("messages") or []
        return [turn for turn in given if isinstance(turn, dict)]


class _Faulty(Exception):
    """The chosen fault strikes now."""


class SimulatedUpstream:
    """The server's handlers and what they count."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._fault, self._fault_number = simulation.fault_kind()
        self._asked = self._started = self._running = self._cut_short = 0

    def app(self) -> web.Application:
        """The application, to be served with handler_cancellation, so that a client that leaves
        is noticed at once.
        """
        app = web.Application()
        app.on_response_prepare.append(_label)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self.complete),
                *(web.post(path, self.answer) for path in _PATHS),
                web.get("/envelope", self.answer),
                web.get("/words", self.answer),
                web.get("/v1/models", self.models),
                web.get("/healthz", self.health),
                web.get("/stats", self.stats),
            ]
        )
        return app

    async def models(self, request: web.Request) -> web.Response:
        """The one model."""
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "simulation"}
        return _json({"object": "list", "data": [model]})

    async def health(self, request: web.Request) -> web.Response:
        """It answers, so it lives."""
        return _json({"status": "ok"})

    async def stats(self, request: web.Request) -> web.Response:
        """How many answers were begun, run now, and lost their reader."""
        counts = {"started": self._started, "running": self._running, "cut": self._cut_short}
        return _json(counts)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """OpenAI's chat completions, streamed or whole."""
        try:
            question = msgspec.json.decode(await request.read(), type=_SimulatedRequest)
        except msgspec.DecodeError as error:
            return _error(400, f"this is not a chat completions request: {error}")
        if not question.turns():
            return _error(400, "this is not a chat completions request: messages is empty")
        include_usage = bool((question.stream_options or {}).get("include_usage"))
        form = OpenAi(include_usage=include_usage) if question.stream else None
        return await self._answer(request, question, form)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any other format, streamed."""
        try:
            if request.method == "GET":
                question = _SimulatedRequest(prompt=request.query.get("prompt", ""))
            else:
                question = msgspec.json.decode(await request.read(), type=_SimulatedRequest)
        except msgspec.DecodeError as error:
            return _error(400, f"this is not a question: {error}")
        form = _PATHS[request.path]()
        if isinstance(form, DashScope):
            form.incremental = bool((question.parameters or {}).get("incremental_output"))
        return await self._answer(request, question, form)

    async def _answer(
        self, request: web.Request, question: _SimulatedRequest, form: Format | None
    ) -> web.StreamResponse:
        self._asked += 1
        first_ones = self._asked <= self._fault_number
        if self._fault == "refuse" or (self._fault == "flaky" and first_ones):
            return _error(503, "the simulated LLM refuses, as it was told to")
        if self._fault == "busy" and first_ones:
            return _error(429, "the simulated LLM is busy, as it was told to", retry_after=1)
        if self._fault == "status":
            return _error(self._fault_number, "the simulated LLM fails, as it was told to")
        self._started += 1
        self._running += 1
        try:
            if self._fault == "hang":
                await asyncio.Event().wait()
            if form is not None:
                return await self._stream(request, question, form)
            return _json(_whole(question))
        except (asyncio.CancelledError, ConnectionError):  # the latter where nothing cancels
            self._cut_short += 1
            raise
        finally:
            self._running -= 1

    async def _stream(
        self, request: web.Request, question: _SimulatedRequest, form: Format
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": form.content_type})
        await response.prepare(request)
        step = self._simulation.network_chunk_bytes
        try:
            async for event in self._events(question, form):
                for start in range(0, len(event), step or len(event) or 1):
                    await response.write(event[start : start + (step or len(event))])
                    if step is not None:
                        await asyncio.sleep(0)  # a packet of its own, as far as this can be had
        except _Faulty:
            if self._fault == "cut" and request.transport is not None:
                request.transport.abort()
        return response

    async def _events(self, question: _SimulatedRequest, form: Format) -> AsyncIterator[bytes]:
        tokens = tokens_of(answer_to(_last_words(question.turns())))
        yield form.begin()
        await asyncio.sleep(self._simulation.first_token_seconds)
        due = time.monotonic()
        while True:
            for number, token in enumerate(tokens):
                async for event in self._struck(number, form):
                    yield event
                yield form.token(token)
                due += 1 / self._simulation.tokens_per_second
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
            if self._fault != "endless":
                break
        yield form.end(_usage(question.turns(), len(tokens)))

    async def _struck(self, number: int, form: Format) -> AsyncIterator[bytes]:
        """What the fault puts in front of this token. Raises _Faulty when nothing follows."""
        if self._fault == "line" and number == 0:
            piece = b"x" * 65536
            for _ in range(self._fault_number // len(piece) + 1):
                yield piece
            raise _Faulty
        if number != self._fault_number:
            return
        match self._fault:
            case "cut" | "truncate":
                raise _Faulty
            case "stall":
                await asyncio.Event().wait()
            case "error":
                yield form.error("the simulated LLM breaks off, as it was told to")
                raise _Faulty
            case "garbage":
                yield b"data: \xff\xfe{]not JSON\n\n" * 3
                raise _Faulty


async def _label(request: web.Request, response: web.StreamResponse) -> None:
    """Every answer says what it is, also those that aiohttp gives by itself (404, 405, 413)."""
    response.headers.update(_HEADERS)


def _last_words(turns: list[dict[str, Any]]) -> str:
    content = turns[-1].get("content") if turns else ""
    if isinstance(content, list):
        parts = (part.get("text", "") for part in content if isinstance(part, dict))
        return " ".join(str(part) for part in parts)
    return str(content or "")


def _whole(question: _SimulatedRequest) -> dict[str, Any]:
    text = answer_to(_last_words(question.turns()))
    message = {"role": "assistant", "content": text}
    return {
        **CHUNK,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _usage(question.turns(), len(tokens_of(text))),
    }


def _usage(turns: list[dict[str, Any]], completion: int) -> dict[str, int]:
    prompt = sum(len(tokens_of(str(turn.get("content") or ""))) for turn in turns)
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
