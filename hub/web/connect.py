"""GET /sse/connect/{user_id}: a user's event stream.

What is final (a bad name, cursor or token) is answered with its status; what passes by itself
(draining, the broker away) is answered 200 and ended with `hub.bye`, because a browser never
returns to a stream that was answered with anything but 200.
"""

from __future__ import annotations

from functools import partial

from aiohttp import web

from hub.core.channel import ALL, topic_channel, user_channel
from hub.engine.connection import Connection
from hub.web.auth import Door, topics_of
from hub.web.streaming import Streams, cursor_of


class ConnectRoutes:
    """The streaming routes of the public listener."""

    def __init__(self, streams: Streams, door: Door) -> None:
        self._streams = streams
        self._door = door

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/sse/connect/{user_id}", self.connect, allow_head=False),
            web.get("/sse/connect", self.connect, allow_head=False),
        ]

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Begins the stream."""
        identity = await self._door.identify(request)
        topics = topics_of(request, identity, most=self._streams.limits.max_topics)
        channels = [user_channel(identity.user), ALL, *map(topic_channel, topics)]
        cursor = cursor_of(request, channels)
        make = partial(Connection, user=identity.user, channels=channels)
        return await self._streams.begin(request, identity, cursor, make)
