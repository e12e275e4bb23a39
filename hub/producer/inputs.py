"""The inputs of a run: what its function asks people for, and what they answer.

The requests go the way of the parts (output.py), so they never overtake what the function has
yielded before. The worker sends the values back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import msgspec

from hub.core.durable import AskInput
from hub.core.input_schema import InvalidSchema, check_schema
from hub.core.inputs import MAX_KEY_CHARS, InputRequest
from hub.core.json_depth import check_depth
from hub.producer.failures import InputTimeout
from hub.producer.steps import CommandBuffer, decode, encode

MAX_OPTIONS: Final = 100
MAX_APPROVERS: Final = 100
DEFAULT_INPUT_TIMEOUT_SECONDS: Final = 3600.0
_NO_PATH_SEGMENTS: Final = (".", "..")  # https://url.spec.whatwg.org/#single-dot-path-segment
_MAX_TIMEOUT_SECONDS: Final = 366 * 24 * 3600.0


class InputValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of an input: JSON. is_expired: nobody has given one in time."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    is_expired: bool = False


class InputServices(Protocol):
    """What an input needs of the worker."""

    def open_input(self, key: str) -> asyncio.Future[InputValue]:
        """Return the value that the worker will send."""
        ...

    def close_input(self, key: str) -> None:
        """Tell the worker that nobody waits for the value any more, unless it has come."""
        ...


class InputCalls:
    """What a function asks for in this run. values: those that are known, which are `run.inputs`.

    waited_seconds: for how long the function has waited; waits at the same time count once.
    """

    def __init__(
        self,
        values: Mapping[str, msgspec.Raw],
        buffer: CommandBuffer,
        services: InputServices,
    ) -> None:
        self.values: dict[str, Any] = {key: decode(value) for key, value in values.items()}
        self._buffer = buffer
        self._services = services
        self._keys: set[str] = set()  # the keys of this run
        self._waits = 0
        self._waits_since = 0.0
        self.waited_seconds = 0.0

    async def ask(self, request: InputRequest) -> Any:
        """Ask for an input, and return its value. Raise InputTimeout."""
        key = request.input
        if key in self._keys:
            raise ValueError(
                f"the input {key!r} was asked for twice in one run: each needs a key of its own"
            )
        self._keys.add(key)
        received = self._services.open_input(key)
        try:
            await self._buffer.carry_out(AskInput(request), [], f"the input {key!r}")
            with self._waiting():
                answer = await received
        finally:
            self._services.close_input(key)
        if answer.is_expired:
            raise InputTimeout(f"nobody has answered in time: {request.prompt}")
        self.values[key] = decode(answer.value)
        return self.values[key]

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        if not self._waits:
            self._waits_since = time.monotonic()
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            if not self._waits:
                self.waited_seconds += time.monotonic() - self._waits_since


class Suspend(BaseException):
    """Raise it in a function to end the attempt until somebody gives a value.

    The next attempt has the value in `run.inputs`, and `state` in `run.checkpoint`. Meanwhile the
    answer holds no process and no place among the running ones. The arguments are those of
    `Run.input`; state: JSON. When nobody answers in time, the answer fails as `input_timeout`.
    It is no Exception, so that a function does not catch it by mistake.
    """

    def __init__(
        self,
        key: str,
        prompt: str,
        *,
        state: Any = None,
        options: Sequence[str] | None = None,
        schema: Any = None,
        timeout_seconds: float = 86400.0,
        approvers: Sequence[str] | None = None,
        tool_call: str | None = None,
    ) -> None:
        super().__init__(key, prompt)
        self.request = build_request(
            key,
            prompt,
            options=options,
            schema=schema,
            timeout_seconds=timeout_seconds,
            approvers=approvers,
            tool_call=tool_call,
        )
        self.state = encode(state, "the state")


def build_request(
    key: object,
    prompt: object,
    *,
    options: Sequence[str] | None,
    schema: Any,
    timeout_seconds: float,
    approvers: Sequence[str] | None,
    tool_call: str | None,
) -> InputRequest:
    """Return the request of an input. Raise TypeError, ValueError."""
    _check_text("the key of an input", key, MAX_KEY_CHARS)
    if key in _NO_PATH_SEGMENTS:
        raise ValueError(f"the key of an input must not be {key}: clients remove it from URLs")
    _check_text("the prompt of an input", prompt, None)
    options = _check_texts("options", options, MAX_OPTIONS)
    approvers = _check_texts("approvers", approvers, MAX_APPROVERS)
    for user in approvers or ():
        if not 1 <= len(user) <= MAX_KEY_CHARS or " " in user or not user.isprintable():
            raise ValueError(f"approvers: {user!r} is no user id")
    if tool_call is not None:
        _check_text("tool_call", tool_call, None)
    if isinstance(timeout_seconds, bool) or not isinstance(timeout_seconds, int | float):
        raise TypeError("timeout_seconds must be a number")
    if not 0 < timeout_seconds <= _MAX_TIMEOUT_SECONDS:
        raise ValueError("timeout_seconds must be above 0, and at most that of a year")
    request = InputRequest(
        input=str(key),
        prompt=str(prompt),
        options=options,
        schema=None if schema is None else _check_schema(schema),
        expires_at=round(time.time() + timeout_seconds, 3),
        tool_call=tool_call,
        approvers=[*dict.fromkeys(approvers or ())],
    )
    try:
        check_depth(msgspec.json.encode(request))
    except UnicodeEncodeError:
        raise ValueError("an input has a text that is no Unicode") from None
    return request


def _check_text(what: str, text: object, max_chars: int | None) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if not text or (max_chars is not None and len(text) > max_chars):
        limit = "" if max_chars is None else f" to {max_chars}"
        raise ValueError(f"{what} must have 1{limit} characters")
    if max_chars is not None and not text.isprintable():
        raise ValueError(f"{what} must have no control characters")


def _check_texts(what: str, texts: Sequence[str] | None, max_texts: int) -> list[str] | None:
    if texts is None:
        return None
    if isinstance(texts, str) or not all(isinstance(each, str) for each in texts):
        raise TypeError(f"{what} must be a list of texts")
    if not 1 <= len(texts) <= max_texts:
        raise ValueError(f"{what} must have 1 to {max_texts} texts")
    return [*texts]


def _check_schema(schema: Any) -> Any:
    try:
        schema = msgspec.json.decode(msgspec.json.encode(schema))
        check_schema(schema)
    except InvalidSchema as error:
        raise ValueError(f"schema is no JSON Schema: {error}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"schema is not JSON: {error}") from None
    return schema
