"""What HTTP, WebSocket and gRPC share to open a stream: limits, options, expiry, and the request.

The steps of a stream, one verb each: authenticate → check the limits → prepare the response → open
a connection on its writer → attach it → leave it to the hub. This module has those that do not
depend on the protocol; hub/http/streams.py and hub/grpc/event_streams.py have the others.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from hub.api.authentication import Identity, check_topics
from hub.api.client_address import ClientAddresses
from hub.api.heartbeats import Heartbeats, requested_heartbeats
from hub.api.request_context import RequestContext, last_event_id
from hub.api.stop_on_disconnect import DisconnectGuard
from hub.core.channel import ALL, Channel, topic_channel, user_channel
from hub.core.close_reason import CloseReason
from hub.core.cursor import UNKNOWN, Cursor, Position, parse_cursor
from hub.engine.streams.connection import Connection, ConnectionOptions
from hub.engine.streams.connections import Connections
from hub.engine.streams.expiry import ConnectionExpiry
from hub.engine.streams.stream_view import USER_STREAM, StreamView
from hub.error_codes import TOO_MANY_CONNECTIONS
from hub.errors import BadRequest, TooManyRequests
from hub.ports.clock import Clock
from hub.ports.connections import ConnectionWriter, EventEncoder
from hub.ports.events import FROM_START

_RETRY_SECONDS: Final = 10


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one stream; None means no limit.

    retry_ms: how long clients should wait before they reconnect.
    max_topics: the number of topics that one stream may follow.
    outbox_max_events, outbox_max_bytes: what may wait for a slow client.
    write_buffer_bytes: what a socket may buffer in the process before events wait in the outbox.
    max_age_seconds: the age at which the hub ends a stream.
    expiry_notice_seconds: how long before its token expires a stream gets `hub.expiring`.
    max_per_address: the number of streams from one client address.
    heartbeat_seconds, min_heartbeat_seconds: the longest and the shortest interval of heartbeats.
    """

    retry_ms: int
    max_topics: int
    outbox_max_events: int
    outbox_max_bytes: int
    write_buffer_bytes: int
    max_age_seconds: float | None
    expiry_notice_seconds: float
    max_per_address: int | None
    heartbeat_seconds: float
    min_heartbeat_seconds: float


class StreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that was requested, after all checks.

    channels: the user's own first, in cursor order. cursor: the position after which each channel
    begins; one without a position begins live. client_cursor: the positions that the client sent,
    which a stream that ends at once repeats. guard: stops the generation when the client
    disconnects. on_attach: called with the connection once it is attached.
    """

    identity: Identity
    channels: Sequence[Channel]
    cursor: Cursor
    client_cursor: Cursor = {}
    view: StreamView = USER_STREAM
    guard: DisconnectGuard | None = None
    heartbeats: Heartbeats = Heartbeats()
    on_attach: Callable[[Connection], None] | None = None


class Streams:
    """Opens connections for stream requests and attaches them."""

    def __init__(
        self,
        connections: Connections,
        clock: Clock,
        limits: StreamLimits,
        addresses: ClientAddresses,
    ) -> None:
        self.limits = limits
        self._connections = connections
        self._clock = clock
        self._addresses = addresses

    def user_request(self, context: RequestContext, identity: Identity) -> StreamRequest:
        """Read a user's stream from a request: `topics`, and the cursor. Raise CallerError."""
        names = context.query.get("topics", "").split(",")
        return self.user_stream(context, identity, names, context.query.get("cursor"))

    def user_stream(
        self, context: RequestContext, identity: Identity, names: Sequence[str], cursor: str | None
    ) -> StreamRequest:
        """Return a user's stream with these topics.

        cursor: that of the request's body or URL; see requested_cursor. Raise CallerError.
        """
        channels = user_channels(identity.user, self.check_topics(names, identity))
        positions = requested_cursor(context, channels, cursor)
        return StreamRequest(
            identity=identity,
            channels=channels,
            cursor=positions,
            client_cursor=without_start(positions),
            heartbeats=self.requested_heartbeats(context),
        )

    def requested_heartbeats(
        self, context: RequestContext, *, can_be_events: bool = True
    ) -> Heartbeats:
        """Return the heartbeats that the query asks for. Raise BadRequest.

        Call it before starting a generation too: a refused stream should not start it.
        """
        return requested_heartbeats(
            context,
            min_seconds=self.limits.min_heartbeat_seconds,
            max_seconds=self.limits.heartbeat_seconds,
            can_be_events=can_be_events,
        )

    def check_topics(self, names: Sequence[str], identity: Identity) -> list[str]:
        """Return the topics that a stream will follow, sorted, without duplicates and empty names.

        Raise BadRequest, Forbidden, TooManyRequests.
        """
        topics = check_topics(names, identity, max_topics=self.limits.max_topics)
        self._connections.check_new_topics(identity.user, topics)
        return topics

    def check_capacity(self, context: RequestContext) -> None:
        """Raise NodeBusy and TooManyRequests, for clients that understand an HTTP status better
        than a stream that ends at once.
        """
        self._connections.check_capacity()
        self.check_address(context)

    def check_address(self, context: RequestContext) -> None:
        """Raise TooManyRequests when the client's address has as many streams as it may.

        Call it before starting a generation too: a client that cannot get the stream should not
        start the generation.
        """
        limit = self.limits.max_per_address
        if limit is None:
            return
        if self._connections.count_at_address(self._addresses.of(context)) >= limit:
            raise TooManyRequests(
                f"there are {limit} streams from this address",
                code=TOO_MANY_CONNECTIONS,
                limit="address",
                retry_after_seconds=_RETRY_SECONDS,
            )

    def open_connection(
        self,
        context: RequestContext,
        stream: StreamRequest,
        *,
        encoder: EventEncoder,
        writer: ConnectionWriter,
    ) -> Connection:
        """Return a connection on this writer, not attached yet."""
        options = ConnectionOptions(
            id=f"c_{os.urandom(8).hex()}",
            user=stream.identity.user,
            channels=stream.channels,
            encoder=encoder,
            writer=writer,
            outbox_max_frames=self.limits.outbox_max_events,
            outbox_max_bytes=self.limits.outbox_max_bytes,
            retry_ms=self.limits.retry_ms,
            token_id=stream.identity.token_id,
            address=self._addresses.of(context),
            heartbeat_seconds=stream.heartbeats.seconds,
            heartbeat_event=stream.heartbeats.as_events,
            client_cursor=stream.client_cursor,
        )
        connection = Connection(options, self._clock, stream.view)
        if stream.guard is not None:
            stream.guard.watch(connection)
        return connection

    def attach(self, connection: Connection, stream: StreamRequest) -> None:
        """Attach the connection to its channels, until its token expires or it is too old."""
        expiry = self._expiry(stream.identity)
        self._connections.attach(connection, stream.cursor, expiry)
        if stream.on_attach is not None:
            stream.on_attach(connection)

    def attach_poll(
        self, connection: Connection, stream: StreamRequest, wait_seconds: float
    ) -> None:
        """Attach the connection of a long poll, for at most `wait_seconds`."""
        until = self._clock.now() + wait_seconds
        expiry = ConnectionExpiry(until=until, reason=CloseReason.POLLED)
        self._connections.attach(connection, stream.cursor, expiry)

    async def attach_and_wait(self, connection: Connection, stream: StreamRequest) -> CloseReason:
        """Attach the connection and wait for its end. Cancelling the wait closes the connection."""
        return await self._connections.attach_and_wait(connection, stream.cursor)

    async def set_topics(self, connection: Connection, topics: Sequence[Channel]) -> None:
        """Replace the topics of a user's stream, which also follows the user's channel and `all`.

        Return when the connection is live in all of them.
        """
        await self._connections.set_channels(connection, [*connection.channels[:2], *topics])

    def _expiry(self, identity: Identity) -> ConnectionExpiry | None:
        """Return when the connection must end: when its token expires or at its maximum age.

        The maximum age is shortened by up to a tenth at random, so that connections that opened
        together do not end together.
        """
        now, candidates = self._clock.now(), list[ConnectionExpiry]()
        if self.limits.max_age_seconds is not None:
            age = self.limits.max_age_seconds * random.uniform(0.9, 1.0)
            candidates.append(ConnectionExpiry(until=now + age, reason=CloseReason.TOO_OLD))
        if identity.expires_at is not None:
            until = now + identity.expires_at - time.time()
            notice_at = max(now, until - self.limits.expiry_notice_seconds)
            candidates.append(
                ConnectionExpiry(until=until, reason=CloseReason.EXPIRED, notice_at=notice_at)
            )
        return min(candidates, key=lambda expiry: expiry.until, default=None)


def user_channels(user: str, topics: Iterable[str]) -> list[Channel]:
    """Return the channels of a user's stream: the user's own, `all`, and the topics."""
    return [user_channel(user), ALL, *map(topic_channel, topics)]


def requested_cursor(
    context: RequestContext, channels: Sequence[Channel], cursor: str | None
) -> dict[Channel, Position]:
    """Return the position after which each channel begins.

    `Last-Event-ID` has precedence over `cursor`, because a client that reconnects to the same URL
    sends its newer position there. Raise BadRequest for an invalid `cursor`.

    cursor: that of the request's body or URL.
    """
    resumed = last_event_id(context)
    if resumed is None:
        return parse_requested_cursor(cursor or "live", channels)
    try:
        return parse_requested_cursor(resumed, channels)
    except BadRequest:
        # It is an id of another server, or half of one. The client cannot change what it sends, and
        # an EventSource that gets an error never comes back: it gets `hub.reset` instead.
        return dict.fromkeys(channels, UNKNOWN)


def without_start(cursor: Cursor) -> Cursor:
    """Return the positions of a requested cursor that were in its text, none of `start`."""
    return {} if FROM_START in cursor.values() else cursor


def parse_requested_cursor(text: str, channels: Iterable[Channel]) -> dict[Channel, Position]:
    """Parse a cursor, `live` (no positions) or `start` (all stored events). Raise BadRequest."""
    if text == "live":
        return {}
    if text == "start":
        return dict.fromkeys(channels, FROM_START)
    return parse_cursor(text, channels)
