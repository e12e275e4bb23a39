"""The records of generations in Redis: one hash each, in the partition of its channel."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
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
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.events import Retention, channel_retention, to_milliseconds
from hub.backends.redis.keys import (
    JOBS_PARTITION,
    LAST_SWEEP,
    chat_open_key,
    hash_tag,
    open_generations_key,
    suspended_key,
    user_generations_key,
)
from hub.core.channel import PARTITIONS, Channel, partition_of, user_channel
from hub.core.cursor import Position, new_epoch
from hub.core.event import digest, encode_json
from hub.core.external_producer import AttemptNotes, ExternalState, LeaseState, Progress
from hub.core.generation import (
    Generation,
    GenerationRequest,
    Moment,
    OnBusy,
    Status,
    StopResult,
    partition_of_generation,
)
from hub.core.inputs import InputAnswer, InputRequest, StoredInput
from hub.core.steering import (
    MAX_STEERING_BYTES,
    MAX_STEERING_MESSAGES,
    SteeringMessage,
    last_user_message,
)
from hub.errors import CallerError
from hub.ports.generations import (
    MAX_KEPT_PER_USER,
    MAX_LISTED_PER_USER,
    MAX_OPEN_PER_CHAT,
    CreatedGeneration,
    FoundInput,
    GenerationFilter,
    GenerationSummary,
    OpenGeneration,
    chat_busy,
    chat_full,
    generation_ended,
    key_reused,
    not_steerable,
    request_digest,
    steering_digest,
    steering_full,
)

_PACKAGE: Final = "hub.backends.redis"
_CREATE: Final = Script(
    *(_PACKAGE, "channel_head", "append", "chat", "steering", "user_generations"),
    "create_generation",
    is_repeatable=True,
)
_STEER: Final = Script(
    *(_PACKAGE, "channel_head", "append", "chat", "steering", "steer_generation"),
    is_repeatable=True,  # each message has a key
)
_ADD_TO_USER: Final = Script(
    _PACKAGE, "channel_head", "user_generations", "add_to_user", is_repeatable=True
)
_NEXT_OF_CHAT: Final = Script(
    _PACKAGE, "chat", "next_of_chat", needs_memory=False, is_repeatable=True
)
_SUMMARIZE: Final = Script(
    _PACKAGE, "summarize_generations", needs_memory=False, is_repeatable=True
)
_FIND: Final = Script(
    _PACKAGE, "channel_head", "find_generation", needs_memory=False, is_repeatable=True
)
_DISCARD: Final = Script(_PACKAGE, "discard_generation", needs_memory=False, is_repeatable=True)
_DELETE: Final = Script(
    _PACKAGE, "chat", "delete_generation", needs_memory=False, is_repeatable=True
)
_VOID_LEASE: Final = Script(_PACKAGE, "channel_head", "lease", "void_lease", needs_memory=False)
_LIST_LEASED_OR_SUSPENDED: Final = Script(
    _PACKAGE, "list_leased_or_suspended", needs_memory=False, is_repeatable=True
)
_STOP: Final = Script(_PACKAGE, "request_stop", needs_memory=False, is_repeatable=True)
_CLAIM_SWEEP: Final = Script(_PACKAGE, "claim_sweep", needs_memory=False)
_TAKE_OPEN: Final = Script(
    _PACKAGE, "channel_head", "lease", "take_open_generations", needs_memory=False
)
_CHAT_REFUSALS: Final[Mapping[bytes, Callable[[str], CallerError]]] = {
    b"busy": chat_busy,
    b"full": lambda _: chat_full(),
    b"relay": not_steerable,
    b"steering_full": steering_full,
}
_STEERING_REFUSALS: Final[Mapping[bytes, Callable[[str], CallerError]]] = {
    b"ended": generation_ended,
    b"relay": not_steerable,
    b"full": steering_full,
    b"reused": lambda _: key_reused(),
}
_decode_steering: Final = msgspec.json.Decoder(SteeringMessage).decode
_MAX_OPEN_PER_PARTITION: Final = 100  # of one check; the others are read in the next ones
_INPUT: Final = b"input "
_ANSWER: Final = b"answer "
_MAX_SUMMARIES: Final = 100  # of one call
_MAX_DELETIONS: Final = 100  # at once


class RedisGenerationStore:
    """Implements ports.generations.GenerationStore."""

    def __init__(self, client: RedisClient, retention: Retention) -> None:
        self._client = client
        self._head_ttl_ms = to_milliseconds(retention.position_ttl_seconds)
        self._record_ttl_ms = to_milliseconds(retention.generation_ttl_seconds)
        self._open_ttl_ms = max(self._head_ttl_ms, self._record_ttl_ms)
        self._retention = retention
        self._publish_command = "SPUBLISH" if client.sharded else "PUBLISH"

    async def create(
        self,
        generation: Generation,
        idempotency_key: str | None,
        on_busy: OnBusy = OnBusy.ALLOW,
    ) -> CreatedGeneration:
        request = generation.request
        channel = channel_keys(generation.channel)
        record = generation_keys(generation.id)
        if record is None:
            raise ValueError(f"not the id of a generation: {generation.id!r}")
        if on_busy is OnBusy.STEER:  # so that a repeated call sends no second message
            idempotency_key = idempotency_key or generation.id
        idempotency = (
            generation_idempotency_key(generation.channel, generation.user, idempotency_key)
            if idempotency_key
            else channel.head
        )
        chat, is_listed = request.chat, request.topic is None
        keys = [channel.head, channel.log, idempotency, record.record, record.parts, record.open]
        keys.append(user_generations_key(generation.user)[1] if is_listed else record.record)
        if chat is not None:
            keys += [chat_key(generation.channel, chat), chat_open_key(generation.channel, chat)]
        arguments = (
            new_epoch(),
            self._head_ttl_ms,
            request_digest(request) if idempotency_key else "",
            generation.id,
            generation.user,
            msgspec.json.encode(request),
            self._record_ttl_ms,
            msgspec.json.encode(_Summary.of(request)),
            chat or "",
            on_busy.value,
            MAX_OPEN_PER_CHAT,
            f"{MAX_KEPT_PER_USER} {MAX_LISTED_PER_USER}" if is_listed else "",
            "1" if generation.steerable else "",
            *(self._steering_arguments(generation) if on_busy is OnBusy.STEER else ()),
        )
        (reply,) = await self._client.run([ScriptCall(_CREATE, record.partition, keys, arguments)])
        if not reply:
            raise key_reused()
        if refusal := _CHAT_REFUSALS.get(reply[0]):
            raise refusal(reply[1].decode())
        if reply[0] == b"steered":
            steered, epoch, offset, n = reply[1:]
            position = Position(epoch.decode(), offset)
            return CreatedGeneration(steered.decode(), position, new=False, steered=n)
        generation_id, epoch, offset, new, *more = reply
        waits, *stopped = more or (0,)
        if not is_listed:
            await self._add_to_user(generation.user, generation_id)
        return CreatedGeneration(
            generation_id.decode(),
            Position(epoch.decode(), offset),
            bool(new),
            waits=bool(waits),
            stopped=[each.decode() for each in stopped],
        )

    def _steering_arguments(self, generation: Generation) -> tuple[Argument, ...]:
        """Return what create_generation.lua needs to send the newest message to another answer."""
        message = encode_json(last_user_message(generation.request.messages))
        return (
            self._publish_command,
            channel_retention(self._retention, generation.channel),
            steering_digest(message),
            message,
            encode_json(generation.user),
            MAX_STEERING_MESSAGES,
            MAX_STEERING_BYTES,
        )

    async def steer(
        self, generation: Generation, message: bytes, by: str, idempotency_key: str | None
    ) -> tuple[int, bool] | None:
        keys, channel = generation_keys(generation.id), channel_keys(generation.channel)
        if keys is None:
            return None
        arguments = (
            self._publish_command,
            new_epoch(),
            self._head_ttl_ms,
            channel_retention(self._retention, generation.channel),
            digest(b"", idempotency_key or secrets.token_hex(16)),
            steering_digest(message),
            message,
            encode_json(by),
            MAX_STEERING_MESSAGES,
            MAX_STEERING_BYTES,
        )
        names = (keys.record, channel.head, channel.log)
        (reply,) = await self._client.run([ScriptCall(_STEER, keys.partition, names, arguments)])
        if reply[0] == b"gone":
            return None
        if refusal := _STEERING_REFUSALS.get(reply[0]):
            raise refusal(generation.id)
        n, new = reply
        return n, bool(new)

    async def steering_of(self, generation: str) -> Sequence[SteeringMessage]:
        keys = generation_keys(generation)
        if keys is None:
            return ()
        text = await self._client.call_key(keys.partition, "HGET", keys.record, "steering")
        return _parse_steering(text or b"")

    async def _add_to_user(self, user: str, generation: bytes) -> None:
        partition, key = user_generations_key(user)
        arguments = (generation, MAX_KEPT_PER_USER, MAX_LISTED_PER_USER, self._open_ttl_ms)
        await self._client.run([ScriptCall(_ADD_TO_USER, partition, (key,), arguments)])

    async def find(self, generation: str) -> Generation | None:
        snapshot = await self._find(generation, ())
        return snapshot and snapshot[0]

    async def snapshot(self, generation: Generation) -> tuple[Generation, Position] | None:
        channel = channel_keys(generation.channel)
        return await self._find(generation.id, (channel.head, channel.log))

    async def newest_of_chat(self, user: str, chat: str) -> str | None:
        channel = user_channel(user)
        newest = await self._client.call_key(partition_of(channel), "GET", chat_key(channel, chat))
        return newest.decode() if newest else None

    async def next_of_chat(self, channel: Channel, chat: str) -> str | None:
        partition = partition_of(channel)
        names = (chat_open_key(channel, chat), _any_record(partition))
        (reply,) = await self._client.run([ScriptCall(_NEXT_OF_CHAT, partition, names, ())])
        return reply.decode() or None

    async def list_of_user(self, user: str, which: GenerationFilter) -> list[GenerationSummary]:
        partition, key = user_generations_key(user)
        last = MAX_LISTED_PER_USER - 1
        names = await self._client.call_key(partition, "ZRANGE", key, 0, last, "REV")
        ids = [name.decode() for name in names]
        if which.before is not None:
            ids = ids[ids.index(which.before) + 1 :] if which.before in ids else []
        listed: list[GenerationSummary] = []
        expired: list[str] = []
        while ids and len(listed) < which.limit:
            page, ids = ids[:_MAX_SUMMARIES], ids[_MAX_SUMMARIES:]
            replies = await self._summarize(page, which)
            expired += [each for each in page if not replies[each]]
            listed += [
                _parse_summary(each, replies[each]) for each in page if len(replies[each]) > 1
            ]
        if expired:
            await self._client.call_key(partition, "ZREM", key, *expired)
        return listed[: which.limit]

    async def _summarize(
        self, generations: Sequence[str], which: GenerationFilter
    ) -> dict[str, Any]:
        """Return the replies of summarize_generations.lua by generation."""
        by_partition: dict[int, list[str]] = {}
        for generation in generations:
            partition = partition_of_generation(generation)
            assert partition is not None
            by_partition.setdefault(partition, []).append(generation)
        arguments = (
            "" if which.chat is None else "1",
            which.chat or "",
            which.status.value if which.status else "",
        )
        replies = await self._client.run(
            [
                ScriptCall(
                    _SUMMARIZE,
                    partition,
                    [_any_record(partition) + each for each in ids],
                    arguments,
                )
                for partition, ids in by_partition.items()
            ]
        )
        return {
            generation: reply
            for ids, of_partition in zip(by_partition.values(), replies, strict=True)
            for generation, reply in zip(ids, of_partition, strict=True)
        }

    async def discard(self, generation: Generation, idempotency_key: str | None) -> None:
        keys, chat = generation_keys(generation.id), generation.request.chat
        if keys is None:
            return
        channel, names = generation.channel, [keys.record, keys.parts, keys.open]
        if idempotency_key is not None:
            names.append(generation_idempotency_key(channel, generation.user, idempotency_key))
        if chat is not None:
            names.append(chat_key(channel, chat))
        arguments = (
            generation.id,
            "1" if idempotency_key is not None else "",
            "" if chat is None else "1",
        )
        await self._client.run([ScriptCall(_DISCARD, keys.partition, names, arguments)])

    async def delete(self, generation: str) -> bool:
        call = _delete_call(generation, forced=False)
        return call is None or await self._client.run([call]) == [1]

    async def list_kept(self, user: str) -> list[str]:
        partition, key = user_generations_key(user)
        names = await self._client.call_key(partition, "ZRANGE", key, 0, -1, "REV")
        suspended = await asyncio.gather(
            *(
                self._client.call_key(each, "ZRANGE", suspended_key(each, user), 0, -1)
                for each in range(PARTITIONS)
            )
        )
        ids = [name.decode() for group in (names, *suspended) for name in group]
        return list(dict.fromkeys(ids))

    async def erase(self, user: str) -> None:
        calls = [_delete_call(each, forced=True) for each in await self.list_kept(user)]
        known = [call for call in calls if call is not None]
        for first in range(0, len(known), _MAX_DELETIONS):
            await self._client.run(known[first : first + _MAX_DELETIONS])
        partition, key = user_generations_key(user)
        keys = [
            (partition, key),
            *((each, suspended_key(each, user)) for each in range(PARTITIONS)),
        ]
        await asyncio.gather(*(self._client.call_key(each, "DEL", name) for each, name in keys))

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
            steerable=b"steerable" in values,
            steering=_parse_steering(values.get(b"steering", b"")),
            inputs=_parse_inputs(values),
            suspended=values[b"suspended"].decode() if b"suspended" in values else None,
            suspensions=int(values.get(b"suspensions", b"0")),
            returns=int(values.get(b"returns", b"0")),
            received=int(values.get(b"received", b"0")),
            moments=_parse_moments(values.get(b"moments", b"")),
        )
        return record, Position(epoch.decode(), offset)

    async def stop_requested_by(self, generation: str) -> str | None:
        keys = generation_keys(generation)
        if keys is None:
            return None
        by = await self._client.call_key(keys.partition, "HGET", keys.record, "stop_requested_by")
        return by.decode() if by else None

    async def find_input(self, generation: str, key: str) -> FoundInput | None:
        keys = generation_keys(generation)
        if keys is None:
            return None
        names = (b"user", b"status", f"input {key}".encode(), f"answer {key}".encode())
        fields = await self._client.call_key(keys.partition, "HMGET", keys.record, *names)
        values = dict(zip(names, fields, strict=True))
        if values[b"status"] is None:
            return None
        present = {name: value for name, value in values.items() if value is not None}
        return FoundInput(
            user=values[b"user"].decode(),
            status=Status(values[b"status"].decode()),
            stored=_parse_inputs(present).get(key),
        )

    async def list_leased_or_suspended(self, limit: int) -> list[str]:
        calls = [
            ScriptCall(
                _LIST_LEASED_OR_SUSPENDED, partition, (open_generations_key(partition),), (limit,)
            )
            for partition in range(PARTITIONS)
        ]
        ids = [each.decode() for page in await self._client.run(calls) for each in page]
        return ids[:limit]

    async def void_lease(self, generation: Generation, *, returned: bool) -> bool:
        keys = generation_keys(generation.id)
        if keys is None:
            return False
        how = "returned" if returned else "lost"
        arguments = (generation.attempt, generation.writer, how)
        call = ScriptCall(_VOID_LEASE, keys.partition, (keys.record,), arguments)
        return await self._client.run([call]) == [1]

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
                    (_MAX_OPEN_PER_PARTITION, self._open_ttl_ms),
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
                *map(bool, flags),
            )
            for page in pages
            for generation, attempt, age_ms, stop_requested, lease, *flags in page
        ]


class _Summary(msgspec.Struct, frozen=True):
    """What lists show of a request."""

    model: str = ""
    upstream: str = ""
    chat: str | None = None
    metadata: dict[str, Any] = {}
    topic: str | None = None

    @classmethod
    def of(cls, request: GenerationRequest) -> Self:
        return cls(request.model, request.upstream, request.chat, request.metadata, request.topic)


def _parse_summary(generation: str, reply: Sequence[bytes]) -> GenerationSummary:
    status, attempt, deltas, requested_at, summary, end = reply
    shown = msgspec.json.decode(summary, type=_Summary)
    return GenerationSummary(
        id=generation,
        status=Status(status.decode()),
        attempt=int(attempt),
        deltas=int(deltas),
        requested_at=float(requested_at),
        model=shown.model,
        upstream=shown.upstream,
        chat=shown.chat,
        topic=shown.topic,
        metadata=shown.metadata,
        end=msgspec.json.decode(end) if end else {},
    )


def _delete_call(generation: str, *, forced: bool) -> ScriptCall | None:
    """Return the call that deletes a record; None when this is not the id of a generation.

    forced: whether it is deleted also if it has not ended.
    """
    keys = generation_keys(generation)
    if keys is None:
        return None
    names = (keys.record, keys.parts, keys.open)
    return ScriptCall(_DELETE, keys.partition, names, ("1" if forced else "",))


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
    if written_in != clock or left_ms > int(length_ms):
        left_ms = int(length_ms)  # it begins anew
    return ExternalState(progress, notes, int(length_ms) / 1000, max(0, left_ms) / 1000)


def _parse_steering(text: bytes) -> tuple[SteeringMessage, ...]:
    """Return the messages of a record; see lua/steering.lua for the field."""
    lines = text.split(b"\n")[1:]
    return tuple(_decode_steering(line.split(b" ", 2)[2]) for line in lines)


def _parse_inputs(values: Mapping[bytes, bytes]) -> dict[str, StoredInput]:
    """Return the inputs of a record by key; see lua/inputs.lua for the fields."""
    inputs: dict[str, StoredInput] = {}
    for name, value in values.items():
        if not name.startswith(_INPUT):
            continue
        key = name.removeprefix(_INPUT)
        _, attempt, request = value.split(b" ", 2)
        answer = values.get(_ANSWER + key)
        inputs[key.decode()] = StoredInput(
            msgspec.json.decode(request, type=InputRequest),
            int(attempt),
            None if answer is None else _parse_answer(answer),
        )
    return inputs


def _parse_answer(text: bytes) -> InputAnswer:
    about, event, data = text.split(b"\n", 2)
    at_ms, digest = about.decode().split(" ")
    return InputAnswer(
        event=event.decode(),
        data=data,
        digest=digest.removeprefix("-"),
        at=int(at_ms) / 1000,
    )


def _parse_position(text: bytes | None) -> Position | None:
    if text is None:
        return None
    epoch, _, offset = text.decode().partition(" ")
    return Position(epoch, int(offset))


def _parse_moments(lines: bytes) -> tuple[Moment, ...]:
    """Return the moments of a record (update_generation.lua)."""
    fields = (line.split(" ") for line in lines.decode().splitlines())
    moments = [{"kind": kind, "attempt": int(n), "at": int(ms) / 1000} for kind, n, ms in fields]
    return msgspec.convert(moments, type=tuple[Moment, ...])
