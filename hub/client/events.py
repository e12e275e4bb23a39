"""A user's stream: every event once and in order, over any number of connections.

Control events (`hub.open`, `hub.expiring`, `hub.bye`) are handed over only on demand. `hub.reset`
never passes unseen: without the demand it is raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from hub.client.errors import StreamReset
from hub.client.http import HttpClient
from hub.client.request import Request, build_path
from hub.client.resuming_stream import ResumingStream

T = TypeVar("T")
_MOST_QUERY_CHARS: Final = 2000  # beyond it the request goes by POST: many proxies bound URLs


class StreamEvent(msgspec.Struct, frozen=True):
    """One event of a stream. data: the text as it came. id: the cursor after this event."""

    name: str
    data: str
    id: str

    def json(self) -> Any:
        """`data` as JSON. Raises msgspec.DecodeError when it is plain text."""
        return msgspec.json.decode(self.data)

    def decode(self, type: type[T]) -> T:  # noqa: A002 - msgspec's own word
        """`data` as this type: a dataclass, a TypedDict, a msgspec.Struct. Raises
        msgspec.ValidationError when it is another.
        """
        return msgspec.json.decode(self.data, type=type)


class _Reset(msgspec.Struct):
    channel: str
    reason: str


class EventStream:
    """`async for event in hub.events(): …`, for ever.

    It stands where it stood when the iteration was left, also by a time-out; iterate again to go
    on. `async with hub.events() as events:` ends its connection on the way out.

    cursor: after the last event that was handed over.
    """

    def __init__(
        self,
        link: HttpClient,
        user: str | None,
        topics: Sequence[str],
        cursor: str,
        *,
        control: bool,
    ) -> None:
        self.cursor = cursor
        self._control = control
        self._stream = ResumingStream(link, partial(_opening, user, topics, cursor))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        """Raises HubClientError when the hub's answer is final (a wrong token, name or cursor),
        StreamEnded when it says goodbye for good, and StreamReset.
        """
        while True:
            event = await self._stream.next()
            self.cursor = event.id or self.cursor
            if self._control or not event.name.startswith("hub."):
                return StreamEvent(event.name, event.data, event.id)
            if event.name == "hub.reset":
                reset = msgspec.json.decode(event.data, type=_Reset)
                raise StreamReset(reset.channel, reset.reason, self.cursor)

    async def aclose(self) -> None:
        """Ends the connection; iterating again opens another one."""
        self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _opening(
    user: str | None, topics: Sequence[str], begin: str, cursor: str | None
) -> Request[None]:
    place = ("sse", "connect", user) if user is not None else ("sse", "connect")
    since = cursor or begin
    path = build_path(*place, cursor=since, topics=",".join(topics) or None)
    if len(path) <= _MOST_QUERY_CHARS:
        return Request(method="GET", path=path, read=_nothing)
    body = msgspec.json.encode({"topics": topics, "cursor": since})
    return Request(method="POST", path=build_path(*place), body=body, read=_nothing)


def _nothing(_: bytes) -> None:
    """A stream has no answer as a whole."""
