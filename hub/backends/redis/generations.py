"""The records of generations in Redis: one hash each, in the partition of the user's channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import msgspec

from hub.backends.redis.client import (
    RedisClient,
    Script,
    ScriptCall,
    channel_keys,
    chat_key,
    generation_idempotency_key,
    generation_keys,
)
from hub.backends.redis.events import Retention, to_milliseconds
from hub.backends.redis.keys import (
    JOBS_PARTITION,
    LAST_SWEEP,
    chat_open_key,
    hash_tag,
    open_generations_key,
    user_generations_key,
)
from hub.core.channel import PARTITIONS, partition_of, user_channel
from hub.core.cursor import Position, new_epoch
from hub.core.external_producer import AttemptNotes, ExternalState, LeaseState, Progress
from hub.core.generation import Generation, GenerationRequest, OnBusy, Status, StopResult
from hub.ports.generations import (
    MAX_LISTED_PER_USER,
    MAX_OPEN_PER_CHAT,
    CreatedGeneration,
    GenerationFilter,
    GenerationSummary,
    OpenGeneration,
    chat_busy,
    chat_full,
    key_reused,
    request_digest,
)

_PACKAGE: Final = "hub.backends.redis"
_CREATE: Final = Script(_PACKAGE, "channel_head", "chat", "create_generation", is_repeatable=True)
_NEXT_OF_CHAT: Final = Script(
    _PACKAGE, "chat", "next_of_chat", needs_memory=False, is_repeatable=True
)
_LIST: Final = Script(_PACKAGE, "chat", "list_generations", needs_memory=False, is_repeatable=True)
_FIND: Final = Script(
    _PACKAGE, "channel_head", "find_generation", needs_memory=False, is_repeatable=True
)
_DISCARD: Final = Script(_PACKAGE, "discard_generation", needs_memory=False, is_repeatable=True)
_DELETE: Final = Script(_PACKAGE, "delete_generation", needs_memory=False, is_repeatable=True)
_STOP: Final = Script(_PACKAGE, "request_stop", needs_memory=False, is_repeatable=True)
_CLAIM_SWEEP: Final = Script(_PACKAGE, "claim_sweep", needs_memory=False)
_TAKE_OPEN: Final = Script(
    _PACKAGE, "channel_head", "lease", "take_open_generations", needs_memory=False
)
_MAX_OPEN_PER_PARTITION: Final = 100  # of one check; the others are read in the next ones


class RedisGenerationStore:
    """Implements ports.generations.GenerationStore."""

    def __init__(self, client: RedisClient, retention: Retention) -> None:
        self._client = client
        self._head_ttl_ms = to_milliseconds(retention.position_ttl_seconds)
        self._record_ttl_ms = to_milliseconds(retention.generation_ttl_seconds)

    async def create(
        self,
        generation: Generation,
        idempotency_key: str | None,
        on_busy: OnBusy = OnBusy.ALLOW,
    ) -> CreatedGeneration:
        channel = channel_keys(user_channel(generation.user))
        record = generation_keys(generation.id)
        if record is None:
            raise ValueError(f"not the id of a generation: {generation.id!r}")
        idempotency = (
            generation_idempotency_key(generation.user, idempotency_key)
            if idempotency_key
            else channel.head
        )
        chat = generation.request.chat
        keys = [channel.head, channel.log, idempotency, record.record, record.parts, record.open]
        keys.append(user_generations_key(generation.user))
        if chat is not None:
            keys += [chat_key(generation.user, chat), chat_open_key(generation.user, chat)]
        arguments = (
            new_epoch(),
            self._head_ttl_ms,
            request_digest(generation.request) if idempotency_key else "",
            generation.id,
            generation.user,
            msgspec.json.encode(generation.request),
            self._record_ttl_ms,
            msgspec.json.encode(_Summary.of(generation.request)),
            chat or "",
            on_busy.value,
            MAX_OPEN_PER_CHAT,
            MAX_LISTED_PER_USER,
        )
        (reply,) = await self._client.run([ScriptCall(_CREATE, record.partition, keys, arguments)])
        if not reply:
            raise key_reused()
        if reply[0] in (b"busy", b"full"):
            raise chat_busy(reply[1].decode()) if reply[0] == b"busy" else chat_full()
        generation_id, epoch, offset, new, *more = reply
        waits, *stopped = more or (0,)
        return CreatedGeneration(
            generation_id.decode(),
            Position(epoch.decode(), offset),
            bool(new),
            waits=bool(waits),
            stopped=[each.decode() for each in stopped],
        )

    async def find(self, generation: str) -> Generation | None:
        snapshot = await self._find(generation, ())
        return snapshot and snapshot[0]

    async def snapshot(self, generation: Generation) -> tuple[Generation, Position] | None:
        channel = channel_keys(user_channel(generation.user))
        return await self._find(generation.id, (channel.head, channel.log))

    async def newest_of_chat(self, user: str, chat: str) -> str | None:
        partition = partition_of(user_channel(user))
        newest = await self._client.call_key(partition, "GET", chat_key(user, chat))
        return newest.decode() if newest else None

    async def next_of_chat(self, user: str, chat: str) -> str | None:
        partition = partition_of(user_channel(user))
        names = (chat_open_key(user, chat), _any_record(partition))
        (reply,) = await self._client.run([ScriptCall(_NEXT_OF_CHAT, partition, names, ())])
        return reply.decode() or None

    async def list_of_user(self, user: str, which: GenerationFilter) -> list[GenerationSummary]:
        partition = partition_of(user_channel(user))
        names = (user_generations_key(user), _any_record(partition))
        arguments = (
            "" if which.chat is None else "1",
            which.chat or "",
            which.status.value if which.status else "",
            which.before or "",
            which.limit,
        )
        (reply,) = await self._client.run([ScriptCall(_LIST, partition, names, arguments)])
        return [_parse_summary(each) for each in reply]

    async def discard(
        self, generation: str, user: str, idempotency_key: str | None, chat: str | None
    ) -> None:
        keys = generation_keys(generation)
        if keys is None:
            return
        names = [keys.record, keys.parts, keys.open]
        if idempotency_key is not None:
            names.append(generation_idempotency_key(user, idempotency_key))
        if chat is not None:
            names.append(chat_key(user, chat))
        arguments = (
            generation,
            "1" if idempotency_key is not None else "",
            "" if chat is None else "1",
        )
        await self._client.run([ScriptCall(_DISCARD, keys.partition, names, arguments)])

    async def delete(self, generation: str) -> bool:
        keys = generation_keys(generation)
        if keys is None:
            return True
        names = (keys.record, keys.parts)
        return await self._client.run([ScriptCall(_DELETE, keys.partition, names, ())]) == [1]

    async def _find(
        self, generation: str, channel: tuple[str, ...]
    ) -> tuple[Generation, Position] | None:
        keys = generation_keys(generation)
        if keys is None:
            return None
        names = (keys.record, keys.parts, *channel)
        arguments = (new_epoch(), self._head_ttl_ms)
        (reply,) = await self._client.run([ScriptCall(_FIND, keys.partition, names, arguments)])
        if not reply:
            return None
        journal, epoch, offset, now_ms, clock, *fields = reply
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        stop_requested_by = values.get(b"stop_requested_by")
        requested_at = float(values.get(b"requested_at", b"0"))
        record = Generation(
            id=generation,
            user=values[b"user"].decode(),
            request=msgspec.json.decode(values[b"request"], type=GenerationRequest),
            status=Status(values[b"status"].decode()),
            attempt=int(values[b"attempt"]),
            deltas=int(values[b"deltas"]),
            journal=journal,
            stop_requested_by=stop_requested_by.decode() if stop_requested_by else None,
            requested_at=requested_at,
            # After a fail-over the time may be that of another clock.
            age_seconds=now_ms / 1000 - requested_at if values.get(b"clock") == clock else 0.0,
            after=_parse_position(values.get(b"after")),
            end=msgspec.json.decode(values.get(b"end", b"{}")),
            writer=values.get(b"writer", b"").decode(),
            waits=b"waits" in values,
            external=_parse_external(values, now_ms, clock),
        )
        return record, Position(epoch.decode(), offset)

    async def stop_requested_by(self, generation: str) -> str | None:
        keys = generation_keys(generation)
        if keys is None:
            return None
        by = await self._client.call_key(keys.partition, "HGET", keys.record, "stop_requested_by")
        return by.decode() if by else None

    async def request_stop(self, generation: str, by: str) -> StopResult | None:
        keys = generation_keys(generation)
        if keys is None:
            return None
        (reply,) = await self._client.run(
            [ScriptCall(_STOP, keys.partition, (keys.record,), (by,))]
        )
        if not reply:
            return None
        return StopResult.ENDED if reply == b"ended" else StopResult.STOPPING

    async def take_open(self, interval_seconds: float) -> list[OpenGeneration]:
        claim = ScriptCall(
            _CLAIM_SWEEP, JOBS_PARTITION, (LAST_SWEEP,), (to_milliseconds(interval_seconds),)
        )
        if await self._client.run([claim]) == [0]:
            return []
        pages = await self._client.run(
            [
                ScriptCall(
                    _TAKE_OPEN,
                    partition,
                    (open_generations_key(partition),),
                    (_MAX_OPEN_PER_PARTITION,),
                )
                for partition in range(PARTITIONS)
            ]
        )
        return [
            OpenGeneration(
                generation.decode(),
                attempt,
                age_ms / 1000,
                bool(stop_requested),
                LeaseState(lease.decode()),
            )
            for page in pages
            for generation, attempt, age_ms, stop_requested, lease in page
        ]


class _Summary(msgspec.Struct, frozen=True):
    """What lists show of a request."""

    model: str = ""
    upstream: str = ""
    chat: str | None = None
    metadata: dict[str, Any] = {}

    @classmethod
    def of(cls, request: GenerationRequest) -> Self:
        return cls(request.model, request.upstream, request.chat, request.metadata)


def _parse_summary(reply: Sequence[bytes]) -> GenerationSummary:
    generation, status, attempt, deltas, requested_at, summary, end = reply
    shown = msgspec.json.decode(summary, type=_Summary)
    return GenerationSummary(
        id=generation.decode(),
        status=Status(status.decode()),
        attempt=int(attempt),
        deltas=int(deltas),
        requested_at=float(requested_at),
        model=shown.model,
        upstream=shown.upstream,
        chat=shown.chat,
        metadata=shown.metadata,
        end=msgspec.json.decode(end) if end else {},
    )


def _any_record(partition: int) -> str:
    """Return the key of a record in a partition; scripts derive those of the others from it."""
    return f"{hash_tag(partition)}:generation:"


def _parse_external(
    values: Mapping[bytes, bytes], now_ms: int, clock: bytes
) -> ExternalState | None:
    """Return the attempt of an external producer; see lua/lease.lua for the fields."""
    if b"progress" not in values:
        return None
    progress = Progress.decode(values[b"progress"].decode())
    notes = msgspec.json.decode(values.get(b"notes", b"{}"), type=AttemptNotes)
    if b"lease" not in values:
        return ExternalState(progress, notes)
    until_ms, length_ms, written_in = values[b"lease"].split(b" ")
    left_ms = int(until_ms) - now_ms
    is_known = written_in == clock and left_ms <= int(length_ms)
    return ExternalState(progress, notes, int(length_ms) / 1000, is_known and left_ms <= 0)


def _parse_position(text: bytes | None) -> Position | None:
    if text is None:
        return None
    epoch, _, offset = text.decode().partition(" ")
    return Position(epoch, int(offset))
