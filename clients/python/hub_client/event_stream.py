"""A user's event stream: every event once and in order, over any number of connections.

Control events (`hub.open`, `hub.expiring`, `hub.bye`) are yielded only with `control=True`.
`hub.reset` is never skipped: without `control` it is raised as StreamReset.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Self, TypeVar

import msgspec

from hub_client.errors import StreamReset
from hub_client.http import HttpClient
from hub_client.request import Request, build_path
from hub_client.resuming_stream import ResumingStream, StreamReader

T = TypeVar("T")
# A request with a longer path and query is sent as a POST, because many proxies limit URLs.
_MAX_PATH_CHARACTERS: Final = 2000


class StreamEvent(msgspec.Struct, frozen=True):
    """One event.

    data: the text of the event. id: the cursor just after the event.
    """

    name: str
    data: str
    id: str

    def json(self) -> Any:
        """Return `data` decoded as JSON. Raise msgspec.DecodeError when it is plain text."""
        return msgspec.json.decode(self.data)

    def decode(self, type: type[T]) -> T:  # noqa: A002 - the name in msgspec
        """Return `data` decoded as a dataclass, a TypedDict or a msgspec.Struct.

        Raise msgspec.ValidationError when the data does not match the type.
        """
        return msgspec.json.decode(self.data, type=type)


class _Reset(msgspec.Struct):
    channel: str
    reason: str


class EventStream(StreamReader):
    """Iterate over the events: `async for event in hub.events(): …`. The iteration never ends.

    When you leave the iteration, also by a timeout, no event is lost: iterate again to continue.
    `async with hub.events() as events:` closes the connection at the end of the block.

    cursor: the position after the last event that was yielded.
    """

    def __init__(
        self,
        client: HttpClient,
        user: str | None,
        topics: Sequence[str],
        cursor: str,
        *,
        control: bool,
    ) -> None:
        self.cursor = cursor
        self._control = control
        self._stream = ResumingStream(client, partial(_connect_request, user, topics, cursor))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        """Return the next event.

        Raise HubClientError when a retry cannot help (a wrong token, name or cursor), StreamEnded
        when the hub asks the client not to reconnect, and StreamReset.
        """
        while True:
            event = await self._stream.next()
            self.cursor = event.id or self.cursor
            if self._control or not event.name.startswith("hub."):
                return StreamEvent(event.name, event.data, event.id)
            if event.name == "hub.reset":
                reset = msgspec.json.decode(event.data, type=_Reset)
                raise StreamReset(reset.channel, reset.reason, self.cursor)


def _connect_request(
    user: str | None, topics: Sequence[str], first_cursor: str, cursor: str | None
) -> Request[None]:
    """Build the request that continues after `cursor`; None means the first connection."""
    segments = ("sse", "connect", user) if user is not None else ("sse", "connect")
    after = cursor or first_cursor
    path = build_path(*segments, cursor=after, topics=",".join(topics) or None)
    if len(path) <= _MAX_PATH_CHARACTERS:
        return Request(method="GET", path=path, read=lambda _: None)
    body = msgspec.json.encode({"topics": topics, "cursor": after})
    return Request(method="POST", path=build_path(*segments), body=body, read=lambda _: None)
