"""OpenAI's chat completions over SSE, and what speaks the same: vLLM, llama.cpp, gateways.

Source: platform.openai.com, API reference, "Chat completions: streaming" (chat.completion.chunk).
An answer is complete when a `finish_reason` came; `[DONE]` alone proves nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import aiohttp
import msgspec

from hub.core.generation import Question
from hub.core.piece import Finish, Piece, Reasoning, Text, ToolCalls, Usage
from hub.core.sse_decoder import ServerSentEvent, SseDecoder, StreamTooLarge
from hub.errors import UpstreamError
from hub.upstreams.http import Patience, error_text, post, secrets_in


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


class OpenAiUpstream:
    """Implements ports.Upstream for `{base_url}/chat/completions`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        api_key: str | None,
        headers: Mapping[str, str],
        patience: Patience,
        max_event_bytes: int = 1024 * 1024,
    ) -> None:
        self._session = session
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._headers = dict(headers)
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._patience = patience
        self._max_event_bytes = max_event_bytes

    async def stream(self, question: Question) -> AsyncGenerator[Piece, None]:
        """See ports.Upstream.stream."""
        body = {
            **question.params,
            "model": question.model,
            "messages": question.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        chunks = post(
            self._session,
            self._url,
            body,
            headers=self._headers,
            content_type="text/event-stream",
            patience=self._patience,
        )
        answer = _Answer(self._max_event_bytes, secrets_in(self._headers))
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    for piece in answer.feed(chunk):
                        yield piece
                    if answer.done:
                        break
        except UpstreamError as error:
            # What was finished is whole, also when the connection broke before [DONE].
            if error.code != "upstream_truncated" or not answer.finished:
                raise
        yield answer.finish()


class _Answer:
    """Turns the bytes of one answer into pieces; the finish comes last, after the usage."""

    def __init__(self, max_event_bytes: int, secrets: Collection[str]) -> None:
        self._decoder = SseDecoder(max_line_bytes=max_event_bytes, max_event_bytes=max_event_bytes)
        self._secrets = secrets
        self._finish_reason: str | None = None
        self.done = False  # [DONE] came

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        too_large: StreamTooLarge | None = None
        try:
            events: Sequence[ServerSentEvent] = self._decoder.feed(chunk)
        except StreamTooLarge as error:
            events, too_large = error.events, error
        for event in events:
            if event.data.strip() == "[DONE]":
                self.done = True
                return
            yield from self._pieces(event.data)
        if too_large is not None:
            raise UpstreamError(
                "upstream_too_large", f"the upstream sent too much: {too_large}", retryable=False
            ) from too_large

    @property
    def finished(self) -> bool:
        """Whether the upstream said that the answer is complete."""
        return self._finish_reason is not None

    def finish(self) -> Finish:
        if self._finish_reason is None:
            raise UpstreamError(
                "upstream_truncated",
                "the upstream ended without saying that it is done",
                retryable=True,
            )
        return Finish(self._finish_reason)

    def _pieces(self, data: str) -> Iterator[Piece]:
        try:
            chunk = msgspec.json.decode(data, type=_Chunk)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UpstreamError(
                "upstream_protocol", "the upstream sent something that is no chunk", retryable=False
            ) from error
        if chunk.error is not None:
            said = error_text(data, self._secrets)
            raise UpstreamError(
                "upstream_error",
                f"the upstream failed{f': {said}' if said else ''}",
                retryable=True,
            )
        for choice in chunk.choices or ():
            if choice.index != 0:
                continue  # with n > 1 there are more answers; a channel shows one
            delta = choice.delta or _Delta()
            if thought := delta.reasoning_content or delta.reasoning:
                yield Reasoning(thought)
            if delta.content:
                yield Text(delta.content)
            if delta.tool_calls:
                yield ToolCalls(delta.tool_calls)
            self._finish_reason = choice.finish_reason or self._finish_reason
        if chunk.usage:
            yield Usage(chunk.usage)
