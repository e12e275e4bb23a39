"""A run: one call of a function for one generation, as the function sees it."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import msgspec

_CODE: Final = re.compile(r"[a-z0-9_]{1,64}")


class Failed(Exception):
    """Raise it in a function to end the answer as failed, with a text for the client.

    code: 1 to 64 characters of a to z, 0 to 9 and `_`. message: shown to the client. retryable:
    whether the client may ask again.
    """

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        if not _CODE.fullmatch(code):
            raise ValueError(
                "the code of Failed must have 1 to 64 characters: a to z, 0 to 9 and _"
            )
        super().__init__(code, message)
        self.code = code
        self.message = str(message)
        self.retryable = bool(retryable)


class Stopped(BaseException):
    """The answer was stopped, or its time is over. Synchronous functions get it at their next
    `yield` or call of a method of the run.
    """


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is for. The fields mean the same as in Run."""

    user: str
    generation: str
    attempt: int
    chat: str | None
    messages: list[dict[str, Any]]
    model: str
    params: dict[str, Any]
    metadata: dict[str, Any]
    timeout_seconds: float | None = None


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A notification that a function publishes. data: JSON. The options are those of `publish`."""

    event: str
    data: msgspec.Raw
    id: str | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None


class Publish(Protocol):
    def __call__(self, notification: Notification) -> Coroutine[Any, Any, None]: ...


class _BaseRun:
    """The attributes of a run.

    user: who asks. generation: the id of the answer. attempt: counts the calls of the function for
    this answer, from 1. chat: the id of the user's conversation, None outside of one. messages: the
    conversation, each message in the form of OpenAI's chat completions. model, params, metadata:
    those of the request. state: the value of the app's lifespan, None without one. deadline: the
    time at which the run is cancelled, in Unix seconds; None without a limit.
    """

    def __init__(self, context: RunContext, state: Any, deadline: float | None) -> None:
        self.user = context.user
        self.generation = context.generation
        self.attempt = context.attempt
        self.chat = context.chat
        self.messages = context.messages
        self.model = context.model
        self.params = context.params
        self.metadata = context.metadata
        self.state = state
        self.deadline = deadline

    @property
    def prompt(self) -> str:
        """The text of the last message of the user; empty if there is none."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return _text_of(message.get("content"))
        return ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.generation} attempt={self.attempt}>"


class Run(_BaseRun):
    """A run of an asynchronous function."""

    def __init__(
        self, context: RunContext, state: Any, deadline: float | None, publish: Publish
    ) -> None:
        super().__init__(context, state, deadline)
        self._publish = publish

    async def publish(
        self,
        event: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - the name of the field of POST /publish
        ephemeral: bool = False,
        ttl_seconds: float | None = None,
    ) -> None:
        """Publish a notification to the same user.

        data: a JSON value. id: an idempotency key. ephemeral: only to connections of now.
        ttl_seconds: how long a client that reconnects still gets it.
        Raise TypeError for data that is no JSON value, ValueError for a notification that the hub
        refuses, ConnectionError if Redis is not available.
        """
        encoded = msgspec.Raw(msgspec.json.encode(data))
        await self._publish(
            Notification(
                event=event, data=encoded, id=id, ephemeral=ephemeral, ttl_seconds=ttl_seconds
            )
        )


class SyncRun(_BaseRun):
    """A run of a synchronous function, which runs in a thread: its methods block."""

    def __init__(self, run: Run, context: RunContext, call: Callable[..., Any]) -> None:
        super().__init__(context, run.state, run.deadline)
        self._run = run
        self._call = call  # runs a coroutine on the event loop and returns its result

    def publish(self, event: str, data: Any, **options: Any) -> None:
        """See Run.publish. Raise Stopped when the run was stopped."""
        self._call(self._run.publish(event, data, **options))


def _text_of(content: Any) -> str:
    """Return the text of a message's content: a text, or a list of content parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))
