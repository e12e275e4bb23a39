"""A node's inner loop: events of one channel, to every connection here that follows it.

One write to each connection that is in step, and an offer to each one apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from hub.core.event import Event
from hub.engine.channel_state import BroadcastGroup, ChannelState
from hub.engine.connection import Connection, send_guarded
from hub.ports.connections import EventEncoder

_log = structlog.get_logger(__name__)


def broadcast(track: ChannelState, events: Sequence[Event], now: float) -> None:
    """Events of one channel; each connection that is in step gets them in one write."""
    apart = tuple(track.unsynced)
    parts = track.advance(events, now)
    if parts is None:
        for connection in track.all_synced():
            connection.leave_sync()
        apart = tuple(track.unsynced)
    else:
        if track.synced:
            _send_to_owners(track, events, parts)
        for audience in tuple(track.groups):
            _send_to_group(audience, track, events, parts)
    for connection in apart:
        try:
            for event in events:
                connection.deliver(event)
            connection.enter_sync()
        except Exception:  # noqa: BLE001 - the others of this tick have done nothing
            abort_connection(connection)


def abort_connection(connection: Connection) -> None:
    """After a fault of the hub's own: in the log, and the client comes again."""
    _log.exception("connection.failed", connection=connection.name)
    connection.writer.abort()
    connection.on_disconnect()


def _send_to_owners(track: ChannelState, events: Sequence[Event], parts: Sequence[bytes]) -> None:
    """Events of a user's own channel: the whole cursor is known, the same for like tabs."""
    audience, frames = None, b""
    for connection in tuple(track.synced):
        if connection.group is not audience:
            audience = connection.group
            frames = _framed(audience.transport, events, parts, audience.cursor_suffix)
        sink = connection.writer
        sink.cursor_prefix = track.cursor_part
        sent = send_guarded(sink, frames)
        if sent != len(frames):
            connection.on_partial_write(frames[sent:])


def _framed(
    transport: EventEncoder, events: Sequence[Event], parts: Sequence[bytes], rest: bytes
) -> bytes:
    encode, frame = transport.encode, transport.frame
    frames = b""
    for event, part in zip(events, parts):  # noqa: B905 - as long, and this is the inner loop
        frames += frame(
            encode(event.name, event.data, event.channel), part + rest if part else None
        )
    return frames


def _send_to_group(
    audience: BroadcastGroup, track: ChannelState, events: Sequence[Event], parts: Sequence[bytes]
) -> None:
    """The node's inner loop: events of a channel that many share, the same bytes for all of them
    but for each one's own part of the cursor.
    """
    rests = audience.advance(track, parts)
    bodies = [audience.transport.encode(event.name, event.data, event.channel) for event in events]
    members, by_length = audience.members, dict[int, Sequence[bytes]]()
    for sink in tuple(members):
        own = sink.cursor_prefix
        pieces = by_length.get(len(own))
        if pieces is None:
            pieces = by_length[len(own)] = _around(len(own), audience.transport, bodies, rests)
        frames = own.join(pieces)
        sent = 0  # send_guarded, whose call would be a hundredth of a broadcast's cost
        try:
            if not sink.is_closing():
                sent = sink.try_send(frames)
        except OSError:
            pass
        if sent != len(frames):
            members[sink].on_partial_write(frames[sent:])


def _around(
    own_bytes: int, transport: EventEncoder, bodies: Sequence[bytes], rests: Sequence[bytes]
) -> Sequence[bytes]:
    """Events as what stands between the places of each reader's own part of the cursor."""
    hole, pieces = b"\0" * own_bytes, [b""]
    for body, rest in zip(bodies, rests, strict=True):
        if rest:  # the first one is it: what follows may be a publisher's
            before, _, after = transport.frame(body, hole + rest).partition(hole)
            pieces[-1] += before
            pieces.append(after)
        else:
            pieces[-1] += transport.frame(body, None)
    return pieces
