"""Models that continue a text which begins their answer: the answer so far is the last message.

Three forms of the same request, and what each vendor demands or sends:

    anthropic       the text must not end with white space; models from Claude 4.6 on refuse it
    prefix          DeepSeek (base URL …/beta) and Mistral: `prefix: true` in the message. Mistral
                    sends the whole text again before what follows it
    final_message   vLLM and SGLang: `continue_final_message` and `add_generation_prompt: false`

Sources: docs.claude.com, "Prefill Claude's response"; api-docs.deepseek.com, "Chat Prefix
Completion"; docs.mistral.ai, "Prefix"; docs.vllm.ai, "OpenAI-Compatible Server".

Only an answer of text alone is continued. After reasoning, a tool call or any other part, the
answer begins anew, and so it does if the upstream refuses the request.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol

import msgspec
import structlog

from hub.core.durable import Checkpoint, Restart, ResumePoint, StreamOutput
from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.parts import Finished, Part, Text, Usage
from hub.errors import UpstreamError
from hub.upstreams.dialect import UpstreamRequest
from hub.upstreams.http.endpoint import BuildRequest
from hub.upstreams.http.upstream import HttpUpstream

MIN_ECHO_CHARS: Final = 32
"""A shorter text could be the beginning of what follows it, so it is not sent where an upstream may
send it again."""

_POINT: Final = "prefix"
_OTHER_FORMATS: Final = ("json_object", "json_schema", "structural_tag")
_log = structlog.get_logger(__name__)


class PrefixForm(Protocol):
    """How a wire format asks a model to continue a text, which is not only white space."""

    def can_continue(self, text: str) -> bool: ...

    def content(self, text: str) -> str:
        """Return what the last message of the request has of the text."""
        ...

    def mark(self, built: UpstreamRequest) -> UpstreamRequest:
        """Return the request, whose last message is the text, as one for its continuation."""
        ...

    def new_seam(self, text: str) -> Seam:
        """Return what joins the text and its continuation."""
        ...


class Seam:
    """Removes from the beginning of a continuation what the text before it has already.

    space: white space at the end of the text that the model has not seen. echo: the text, if the
    upstream may send it again; empty otherwise.
    """

    def __init__(self, *, space: str = "", echo: str = "") -> None:
        self._space = space
        self._echo = echo
        self._held = ""  # what may be a repetition of the text

    def feed(self, text: str) -> str:
        """Return what is new in the next text of the continuation."""
        text = self._remove_echo(text)
        while text and self._space:
            if text[0] != self._space[0]:
                self._space = ""
                break
            text, self._space = text[1:], self._space[1:]
        return text

    def end(self) -> str:
        """Return what was held until the end."""
        held, self._held = self._held, ""
        return held

    def _remove_echo(self, text: str) -> str:
        if not self._echo:
            return text
        self._held += text
        if self._echo.startswith(self._held) and self._held != self._echo:
            return ""
        text, self._held = self._held.removeprefix(self._echo), ""
        self._echo = ""
        return text


class AnthropicPrefix:
    """Implements PrefixForm: a last message of the assistant is continued."""

    def can_continue(self, text: str) -> bool:
        return True

    def content(self, text: str) -> str:
        return text.rstrip()

    def mark(self, built: UpstreamRequest) -> UpstreamRequest:
        return built

    def new_seam(self, text: str) -> Seam:
        return Seam(space=text[len(text.rstrip()) :])


class MarkedPrefix:
    """Implements PrefixForm: the last message has the field `prefix`."""

    def can_continue(self, text: str) -> bool:
        return len(text) >= MIN_ECHO_CHARS

    def content(self, text: str) -> str:
        return text

    def mark(self, built: UpstreamRequest) -> UpstreamRequest:
        *messages, answer = built.body["messages"]
        body = {**built.body, "messages": [*messages, {**answer, "prefix": True}]}
        return msgspec.structs.replace(built, body=body)

    def new_seam(self, text: str) -> Seam:
        return Seam(echo=text)


class FinalMessage:
    """Implements PrefixForm: the chat template leaves the last message open."""

    def can_continue(self, text: str) -> bool:
        return True

    def content(self, text: str) -> str:
        return text

    def mark(self, built: UpstreamRequest) -> UpstreamRequest:
        fields = {"continue_final_message": True, "add_generation_prompt": False}
        return msgspec.structs.replace(built, body={**built.body, **fields})

    def new_seam(self, text: str) -> Seam:
        return Seam()


class PrefixUpstream:
    """Implements ports.upstreams.ResumableUpstream.

    build: converts a request to the wire format. models: those that can continue a text; empty
    means all.
    """

    def __init__(
        self,
        http: HttpUpstream,
        build: BuildRequest,
        form: PrefixForm,
        *,
        models: Collection[str],
    ) -> None:
        self._http = http
        self._build = build
        self._form = form
        self._models = models

    def stream(
        self, request: GenerationRequest, context: GenerationContext | None = None
    ) -> AsyncGenerator[Sequence[Part], None]:
        """See ports.upstreams.Upstream.stream."""
        return self._http.stream(request, context)

    async def resumable_stream(
        self,
        request: GenerationRequest,
        context: GenerationContext | None,
        checkpoint: Checkpoint | None,
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """See ports.upstreams.ResumableUpstream.resumable_stream."""
        can_continue = self._can_continue(request)
        if checkpoint is not None:
            text = _text_of(checkpoint) if can_continue else ""
            if text and self._form.can_continue(text):
                continuation = self._continue(request, context, text)
                try:
                    async with aclosing(continuation) as stream:
                        async for output in stream:
                            yield output
                    return
                except _Refused as refusal:
                    _log.warning(
                        "upstream.continuation_refused",
                        upstream=request.upstream,
                        model=request.model,
                        message=str(refusal),
                    )
            yield [Restart()]
        answer = self._http.stream(request, context)
        async with aclosing(_with_points(answer) if can_continue else answer) as stream:
            async for output in stream:
                yield output

    async def cancel(self, request: GenerationRequest, checkpoint: Checkpoint) -> None:
        """See ports.upstreams.ResumableUpstream.cancel. An answer ends with its connection."""

    def _can_continue(self, request: GenerationRequest) -> bool:
        """Return whether a text is all that the model needs to continue the answer."""
        format_ = request.params.get("response_format")
        kind = format_.get("type") if isinstance(format_, dict) else None
        return kind not in _OTHER_FORMATS and (not self._models or request.model in self._models)

    async def _continue(
        self, request: GenerationRequest, context: GenerationContext | None, text: str
    ) -> AsyncGenerator[Sequence[StreamOutput], None]:
        """Yield the continuation of a text. Raise _Refused, UpstreamError."""
        reader = self._http.new_reader(request)
        messages = [*request.messages, Message("assistant", self._form.content(text))]
        chunks = self._http.endpoint.send(
            msgspec.structs.replace(request, messages=messages),
            context,
            build=lambda *whole: self._form.mark(self._build(*whole)),
        )
        answer = _joined(
            self._http.read_answer(chunks, reader, request.upstream), self._form.new_seam(text)
        )
        has_output = False
        try:
            async with aclosing(_with_points(answer)) as stream:
                async for output in stream:
                    has_output = True
                    yield output
        except UpstreamError as error:
            if error.rejects_request and not has_output:
                raise _Refused(error.message) from error
            raise


class _Refused(Exception):
    """The upstream refuses to continue a text; the argument is what it says."""


async def _joined(
    answer: AsyncGenerator[Sequence[Part], None], seam: Seam
) -> AsyncGenerator[Sequence[Part], None]:
    """Yield the parts of a continuation without what the text before it has already."""
    async with aclosing(answer):
        async for parts in answer:
            joined = [part for each in parts for part in _join(each, seam)]
            if joined:
                yield joined


def _join(part: Part, seam: Seam) -> Sequence[Part]:
    if isinstance(part, Text):
        text = seam.feed(part.text)
        return [Text(text)] if text else []
    if isinstance(part, Finished) and (held := seam.end()):
        return [Text(held), part]
    return [part]


async def _with_points(
    answer: AsyncGenerator[Sequence[Part], None],
) -> AsyncGenerator[Sequence[StreamOutput], None]:
    """Yield the parts with a point behind each text, while there is nothing else."""
    is_text_only = True
    async with aclosing(answer):
        async for parts in answer:
            is_only = all(isinstance(part, Text | Usage | Finished) for part in parts)
            if not is_text_only or (is_only and not any(isinstance(part, Text) for part in parts)):
                yield parts
                continue
            is_text_only = is_only
            yield [*parts, ResumePoint(_POINT if is_only else None)]


def _text_of(checkpoint: Checkpoint) -> str:
    """Return the text of an answer that has only text, else ''."""
    parts: Sequence[Any] = checkpoint.folded
    if len(parts) != 1 or parts[0].get("type") != "text":
        return ""
    text = str(parts[0]["text"])
    return text if text.strip() else ""
