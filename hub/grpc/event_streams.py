"""Streams of events as gRPC calls, the same for both services."""

from __future__ import annotations

from collections import Counter
from typing import Final

from grpc.aio import BaseError

from hub.api.streams import StreamRequest, Streams
from hub.core.close_reason import CloseReason
from hub.engine.tasks import BackgroundTasks
from hub.error_codes import TOO_MANY_CONNECTIONS
from hub.errors import TooManyRequests
from hub.grpc.request_context import Context, GrpcRequestContext
from hub.grpc.statuses import end_stream
from hub.transports.grpc import GrpcEventEncoder, GrpcWriter

_MAX_ABANDONED: Final = 8
_RETRY_AFTER_SECONDS: Final = 10


class EventStreams:
    """Opens the streams of one gRPC listener.

    streams: the part that does not depend on gRPC. buffer_bytes: what one stream may buffer in the
    process before events wait in its outbox.
    """

    def __init__(self, streams: Streams, *, buffer_bytes: int) -> None:
        self.streams = streams
        self._buffer_bytes = buffer_bytes
        self._encoder = GrpcEventEncoder()
        self._background_tasks = BackgroundTasks()
        # By user: calls that the hub has ended because the client does not read, and that are still
        # open because the client has not cancelled them either.
        self._abandoned: Counter[str] = Counter()

    async def stream(
        self, call: GrpcRequestContext, context: Context, stream: StreamRequest
    ) -> None:
        """Stream until the end. Only the task of the call writes to the call."""
        self.streams.check_address(call)
        user = stream.identity.user
        abandoned = False

        def on_stuck() -> None:
            nonlocal abandoned
            abandoned = True
            self._abandoned[user] += 1
            self._background_tasks.run("abort slow call", _abort_slow(context))

        writer = GrpcWriter(buffer_bytes=self._buffer_bytes, on_stuck=on_stuck)
        connection = self.streams.open_connection(
            call, stream, encoder=self._encoder, writer=writer
        )
        self.streams.attach(connection, stream)
        try:
            await writer.pump(context.write)
        except BaseError:
            return  # the client disconnected during a write
        finally:
            connection.on_disconnect()  # does nothing if the connection has closed already
            if abandoned:
                self._abandoned -= Counter([user])  # in place; also drops users with zero calls
        if abandoned:
            # The background task may not have run yet; without a status the call would end as OK.
            await _abort_slow(context)
        elif connection.close_reason is not None:
            await end_stream(context, connection.close_reason)

    def check_abandoned(self, user: str) -> None:
        """Raise TooManyRequests if the user has too many abandoned calls.

        Such a call no longer counts as a stream, but it holds memory until the client reads what
        gRPC has buffered or cancels the call.
        """
        if self._abandoned[user] >= _MAX_ABANDONED:
            raise TooManyRequests(
                f"{_MAX_ABANDONED} of your streams are neither read nor cancelled: cancel them",
                code=TOO_MANY_CONNECTIONS,
                limit="given_up",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )


async def _abort_slow(context: Context) -> None:
    """End the call of a client that does not read.

    The status is sent after what gRPC has buffered. The task of the call waits until that has been
    sent or the connection ends.
    """
    try:
        await end_stream(context, CloseReason.SLOW)
    except BaseError:
        pass  # raised when the status is set, and also if the client has disconnected meanwhile
