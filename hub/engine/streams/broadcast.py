"""The inner loop of a node: send the events of one channel to every connection that follows it.

A synced connection gets one write of shared bytes; an unsynced one handles the events itself
(channel_state.py says what the two words mean).
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from hub.core.event import Event
from hub.engine.streams.channel_state import BroadcastGroup, ChannelState, Subscriber
from hub.ports.connections import ConnectionWriter, EventEncoder

_log = structlog.get_logger(__name__)


def broadcast(state: ChannelState, events: Sequence[Event], now: float) -> None:
    """Send events of one channel; each synced connection gets them in one write."""
    unsynced = tuple(state.unsynced)
    parts = state.advance(events, now)
    if parts is None:
        for connection in state.all_synced():
            connection.leave_sync()
        unsynced = tuple(state.unsynced)
    else:
        if state.synced:
            _send_to_owners(state, events, parts)
        for group in tuple(state.groups):
            _send_to_group(group, state, events, parts)
    for connection in unsynced:
        try:
            for event in events:
                connection.deliver(event)
            connection.enter_sync()
        except Exception:  # noqa: BLE001 - a fault in one connection must not stop the others
            abort_connection(connection)


def abort_connection(connection: Subscriber) -> None:
    """Log the current exception and drop the connection; the client reconnects."""
    _log.exception("connection.failed", connection=connection.id)
    connection.writer.abort()
    connection.on_disconnect()


def send_if_open(writer: ConnectionWriter, frames: bytes) -> int:
    """Send bytes to a drained writer. Return how many it took; the caller writes the rest."""
    try:
        return 0 if writer.is_closing() else writer.try_send(frames)
    except OSError:
        return 0  # the socket is full or lost; writing the rest finds out which


def _send_to_owners(state: ChannelState, events: Sequence[Event], parts: Sequence[bytes]) -> None:
    """Send events of a user's own channel: the whole cursor is known, and it is the same for all
    connections of the user in one group.
    """
    group, frames = None, b""
    for connection in tuple(state.synced):
        if connection.group is not group:
            group = connection.group
            frames = _encode_frames(group.encoder, events, parts, group.cursor_suffix)
        writer = connection.writer
        writer.cursor_prefix = state.cursor_part
        sent = send_if_open(writer, frames)
        if sent != len(frames):
            connection.on_partial_write(frames[sent:])


def _encode_frames(
    encoder: EventEncoder, events: Sequence[Event], parts: Sequence[bytes], suffix: bytes
) -> bytes:
    encode, frame = encoder.encode, encoder.frame
    frames = b""
    for event, part in zip(events, parts):  # noqa: B905 - as long, and this is the inner loop
        frames += frame(
            encode(event.name, event.data, event.channel), part + suffix if part else None
        )
    return frames


def _send_to_group(
    group: BroadcastGroup, state: ChannelState, events: Sequence[Event], parts: Sequence[bytes]
) -> None:
    """Send events of a shared channel: the same bytes for all members, except for each one's own
    part of the cursor.
    """
    suffixes = group.advance(state, parts)
    bodies = [group.encoder.encode(event.name, event.data, event.channel) for event in events]
    members, by_length = group.members, dict[int, Sequence[bytes]]()
    for writer in tuple(members):
        prefix = writer.cursor_prefix
        segments = by_length.get(len(prefix))
        if segments is None:
            segments = _split_at_prefix(len(prefix), group.encoder, bodies, suffixes)
            by_length[len(prefix)] = segments
        frames = prefix.join(segments)
        sent = 0  # as send_if_open, whose call would be a hundredth of a broadcast's cost
        try:
            if not writer.is_closing():
                sent = writer.try_send(frames)
        except OSError:
            pass
        if sent != len(frames):
            members[writer].on_partial_write(frames[sent:])


def _split_at_prefix(
    prefix_bytes: int, encoder: EventEncoder, bodies: Sequence[bytes], suffixes: Sequence[bytes]
) -> Sequence[bytes]:
    """Return the frames of these events, split where each member's own part of the cursor goes.

    Frames depend on that part only by its length.
    """
    placeholder, segments = b"\0" * prefix_bytes, [b""]
    for body, suffix in zip(bodies, suffixes, strict=True):
        if suffix:  # the last match is the cursor: a publisher's data before it may have NULs
            frame = encoder.frame(body, placeholder + suffix)
            before, _, after = frame.rpartition(placeholder)
            segments[-1] += before
            segments.append(after)
        else:
            segments[-1] += encoder.frame(body, None)
    return segments
