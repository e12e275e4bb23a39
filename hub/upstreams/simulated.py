"""The simulated LLM: a real HTTP server in OpenAI's wire format, with answers known by heart.

For `hub dev`, demonstrations and tests. It says that it is simulated in its model's name, in every
answer's text and in the header `X-Simulated`. Faults are chosen by a flag:

    refuse        503 to every question
    status:CODE   that status
    hang          no byte, ever
    cut:N         the connection is cut after N tokens
    truncate:N    the stream ends after N tokens without a finish
    error:N       an error inside the stream after N tokens
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from aiohttp import web

from hub.errors import OperatorError
from hub.upstreams.simulated_answers import answer_to, tokens_of

MODEL: Final = "simulated-1"
_HEADERS: Final = {"X-Simulated": "true", "Cache-Control": "no-store"}


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
        with_number = kind in ("status", "cut", "truncate", "error")
        if (kind in ("", "refuse", "hang") and not number) or (with_number and number.isdigit()):
            return kind, int(number or 0)
        raise OperatorError(
            f"there is no fault {self.fault!r}; there are refuse, hang, status:CODE, cut:N, "
            "truncate:N, error:N"
        )


class _Question(msgspec.Struct):
    messages: list[dict[str, Any]]
    model: str = MODEL
    stream: bool = False
    stream_options: dict[str, Any] | None = None


class _Faulty(Exception):
    """The chosen fault strikes now."""


class SimulatedUpstream:
    """The server's handlers and what they count."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._fault, self._fault_number = simulation.fault_kind()
        self._started = self._running = self._cut_short = 0

    def app(self) -> web.Application:
        """The application, to be served with handler_cancellation, so that a client that leaves
        is noticed at once.
        """
        app = web.Application()
        app.on_response_prepare.append(_label)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self.complete),
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
        """One answer, streamed or whole."""
        try:
            question = msgspec.json.decode(await request.read(), type=_Question)
        except msgspec.DecodeError as error:
            return _error(400, f"this is not a chat completions request: {error}")
        if not question.messages:
            return _error(400, "this is not a chat completions request: messages is empty")
        if self._fault == "refuse":
            return _error(503, "the simulated LLM refuses, as it was told to")
        if self._fault == "status":
            return _error(self._fault_number, "the simulated LLM fails, as it was told to")
        self._started += 1
        self._running += 1
        try:
            if self._fault == "hang":
                await asyncio.Event().wait()
            if question.stream:
                return await self._stream(request, question)
            return _json(_whole(question))
        except (asyncio.CancelledError, ConnectionError):  # the latter where nothing cancels
            self._cut_short += 1
            raise
        finally:
            self._running -= 1

    async def _stream(self, request: web.Request, question: _Question) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        step = self._simulation.network_chunk_bytes
        try:
            async for event in self._events(question):
                for start in range(0, len(event), step or len(event)):
                    await response.write(event[start : start + (step or len(event))])
                    if step is not None:
                        await asyncio.sleep(0)  # a packet of its own, as far as this can be had
        except _Faulty:
            if self._fault == "cut" and request.transport is not None:
                request.transport.abort()
        return response

    async def _events(self, question: _Question) -> AsyncIterator[bytes]:
        tokens = tokens_of(answer_to(_last_question(question)))
        yield _event(question, {"role": "assistant", "content": ""})
        await asyncio.sleep(self._simulation.first_token_seconds)
        due = time.monotonic()
        for number, token in enumerate(tokens):
            if number == self._fault_number and self._fault in ("cut", "truncate"):
                raise _Faulty
            if number == self._fault_number and self._fault == "error":
                yield _data(
                    {"error": {"message": "the simulated LLM breaks off, as it was told to"}}
                )
                return
            yield _event(question, {"content": token})
            due += 1 / self._simulation.tokens_per_second
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
        yield _event(question, {}, finish_reason="stop")
        if (question.stream_options or {}).get("include_usage"):
            yield _data({**_chunk(question), "choices": [], "usage": _usage(question, len(tokens))})
        yield b"data: [DONE]\n\n"


async def _label(request: web.Request, response: web.StreamResponse) -> None:
    """Every answer says what it is, also those that aiohttp gives by itself (404, 405, 413)."""
    response.headers.update(_HEADERS)


def _last_question(question: _Question) -> str:
    content = question.messages[-1].get("content")
    if isinstance(content, list):
        parts = (part.get("text", "") for part in content if isinstance(part, dict))
        return " ".join(str(part) for part in parts)
    return str(content or "")


def _whole(question: _Question) -> dict[str, Any]:
    text = answer_to(_last_question(question))
    message = {"role": "assistant", "content": text}
    return {
        **_chunk(question),
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": _usage(question, len(tokens_of(text))),
    }


def _usage(question: _Question, completion: int) -> dict[str, int]:
    prompt = sum(len(tokens_of(str(m.get("content") or ""))) for m in question.messages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _chunk(question: _Question) -> dict[str, Any]:
    return {
        "id": "chatcmpl-simulated",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": question.model,
    }


def _event(
    question: _Question, delta: dict[str, Any], *, finish_reason: str | None = None
) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _data({**_chunk(question), "choices": [choice]})


def _data(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _json(value: Any) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.Response(
        status=status,
        body=msgspec.json.encode({"error": error}),
        content_type="application/json",
    )
