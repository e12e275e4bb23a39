"""The answer of an upstream that a function asks: `run.ask`.

The request is sent when the first part is read. The worker reads the upstream only as fast as the
function takes the parts, and one message ahead.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any, Protocol

import msgspec

from hub.core.json_depth import check_depth
from hub.core.parts import Part
from hub.producer.failures import UpstreamFailed, UpstreamReport

UpstreamMessages = str | list[dict[str, Any]]
"""A text of the user, or messages in the form of OpenAI's chat completions."""


class AskRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a function asks an upstream. messages, params: JSON.

    upstream: its name, None for the first one. model: None for the default of the upstream.
    """

    messages: msgspec.Raw
    params: msgspec.Raw
    upstream: str | None = None
    model: str | None = None


class AnswerEnd(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the answer of an upstream ended. code: empty if it is complete.

    is_refused: the request is wrong, and no upstream was asked; message says why.
    """

    finish_reason: str = ""
    usage: dict[str, Any] = {}
    code: str = ""
    message: str = ""
    retryable: bool = False
    is_refused: bool = False
    report: UpstreamReport | None = None


class AnswerParts(Protocol):
    """Some parts of an answer. end: set with the last ones."""

    @property
    def parts(self) -> list[Part]: ...

    @property
    def end(self) -> AnswerEnd | None: ...


class AnswerSource(Protocol):
    """Where an answer comes from."""

    async def read(self) -> AnswerParts:
        """Return the next parts. The first call sends the request."""
        ...

    def close(self) -> None:
        """Close the connection to the upstream, unless the answer has ended."""
        ...


OpenAnswer = Callable[[AskRequest], AnswerSource]


class AnswerResult:
    """What is known at the end of an answer."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] = {}

    def take(self, end: AnswerEnd) -> None:
        """Take the end of an answer. Raise UpstreamFailed, or ValueError for a wrong request."""
        if end.is_refused:
            raise ValueError(end.message)
        self.usage = end.usage
        if end.code:
            raise UpstreamFailed(end.code, end.message, end.retryable, end.report)
        self.finish_reason = end.finish_reason


class Answer(AsyncIterator[Part]):
    """The parts of an answer, each as the function may yield it: `async for part in answer`.

    The generators hold the result and not this object, so that an answer that the function drops
    is closed at once.
    """

    def __init__(self, source: AnswerSource) -> None:
        self._result = AnswerResult()
        self._parts = _read(source, self._result)

    @property
    def finish_reason(self) -> str | None:
        """Why the answer is complete, `stop` or another one; None until it is."""
        return self._result.finish_reason

    @property
    def usage(self) -> dict[str, Any]:
        """The tokens of this answer as the upstream reports them; empty until its end."""
        return self._result.usage

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> Part:
        return await anext(self._parts)

    async def aclose(self) -> None:
        """Close the connection to the upstream. Leaving the loop does it as well."""
        await self._parts.aclose()


class SyncAnswer(Iterator[Part]):
    """The same for a synchronous function: `for part in answer`."""

    def __init__(
        self,
        source: AnswerSource,
        wait: Callable[[Coroutine[Any, Any, AnswerParts]], AnswerParts],
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        self._result = AnswerResult()
        self._parts = _read_in_thread(source, self._result, wait, post)

    @property
    def finish_reason(self) -> str | None:
        """See Answer.finish_reason."""
        return self._result.finish_reason

    @property
    def usage(self) -> dict[str, Any]:
        """See Answer.usage."""
        return self._result.usage

    def __iter__(self) -> SyncAnswer:
        return self

    def __next__(self) -> Part:
        return next(self._parts)

    def close(self) -> None:
        """Close the connection to the upstream. Leaving the loop does it as well."""
        self._parts.close()


async def _read(source: AnswerSource, result: AnswerResult) -> AsyncGenerator[Part, None]:
    try:
        while True:
            answered = await source.read()
            for part in answered.parts:
                yield part
            if answered.end is not None:
                result.take(answered.end)
                return
    finally:
        source.close()


def _read_in_thread(
    source: AnswerSource,
    result: AnswerResult,
    wait: Callable[[Coroutine[Any, Any, AnswerParts]], AnswerParts],
    post: Callable[[Callable[[], None]], None],
) -> Generator[Part, None, None]:
    """wait: runs a coroutine on the event loop; post: calls a function there, without waiting."""
    try:
        while True:
            answered = wait(source.read())
            yield from answered.parts
            if answered.end is not None:
                result.take(answered.end)
                return
    finally:
        post(source.close)


def build_request(
    messages: Any, upstream: str | None, model: str | None, params: dict[str, Any]
) -> AskRequest:
    """Return the request of `run.ask`.

    Raise TypeError for what is no JSON, ValueError for an empty conversation.
    """
    for name, value in (("upstream", upstream), ("model", model)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a text or None")
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}] if messages else []
    if not isinstance(messages, list | tuple):
        raise TypeError("messages must be a text or a list of messages")
    if not messages:
        raise ValueError("there is nothing to ask: messages is empty")
    return AskRequest(
        messages=encode_value(messages, "messages"),
        params=encode_value(params, "the parameters"),
        upstream=upstream,
        model=model,
    )


def encode_value(value: Any, what: str) -> msgspec.Raw:
    """Return a value as JSON. what: its name in an error.

    Raise TypeError for what is no JSON, ValueError for what no reader of JSON takes.
    """
    try:
        encoded = msgspec.json.encode(value)
        check_depth(encoded)
    except UnicodeEncodeError:
        raise ValueError(f"{what}: there is a text that is no Unicode") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{what}: {error}") from None
    return msgspec.Raw(encoded)
