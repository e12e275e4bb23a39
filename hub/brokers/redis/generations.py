"""Generations' records in Redis: a hash each, beside the log of their user's channel."""

from __future__ import annotations

from typing import Final

import msgspec

from hub.brokers.redis.log import Retention
from hub.core.channel import user_channel
from hub.core.cursor import Position, new_epoch
from hub.core.generation import Generation, Question, Status, StopAnswer
from hub.ports import Created
from hub.redislink import RedisLink, Script, ask_once_key, channel_keys, generation_keys

_PACKAGE: Final = "hub.brokers.redis"
_CREATE: Final = Script(_PACKAGE, "head", "create")
_STOP: Final = Script(_PACKAGE, "stop")


class RedisGenerationStore:
    """Implements ports.GenerationStore."""

    def __init__(self, link: RedisLink, retention: Retention) -> None:
        self._link = link
        self._head_ms = round(retention.position_ttl_seconds * 1000)
        self._record_ms = round(retention.generation_ttl_seconds * 1000)

    async def create(self, generation: Generation, idempotency_key: str | None) -> Created:
        channel = channel_keys(user_channel(generation.user))
        record = generation_keys(generation.id)
        if record is None:
            raise ValueError(f"not a generation's id: {generation.id!r}")
        once = ask_once_key(generation.user, idempotency_key) if idempotency_key else channel.head
        keys = (channel.head, channel.log, once, record.record, record.text)
        args = (
            new_epoch(),
            self._head_ms,
            "1" if idempotency_key else "",
            generation.id,
            generation.user,
            msgspec.json.encode(generation.question),
            self._record_ms,
        )
        async with self._link.call() as client:
            reply = await _CREATE.run(client, keys, args)
        name, epoch, offset, new = reply
        return Created(name.decode(), Position(epoch.decode(), offset), bool(new))

    async def find(self, generation: str) -> Generation | None:
        keys = generation_keys(generation)
        if keys is None:
            return None
        async with self._link.call() as client, client.pipeline(transaction=True) as pipe:
            pipe.hgetall(keys.record)
            pipe.get(keys.text)
            record, text = await pipe.execute()
        if not record:
            return None
        stop_by = record.get(b"stop_by")
        return Generation(
            id=generation,
            user=record[b"user"].decode(),
            question=msgspec.json.decode(record[b"question"], type=Question),
            status=Status(record[b"status"].decode()),
            attempt=int(record[b"attempt"]),
            deltas=int(record[b"deltas"]),
            text=(text or b"").decode(),
            stop_by=stop_by.decode() if stop_by else None,
            end=msgspec.json.decode(record.get(b"end", b"{}")),
        )

    async def request_stop(self, generation: str, by: str) -> StopAnswer | None:
        keys = generation_keys(generation)
        if keys is None:
            return None
        async with self._link.call() as client:
            reply = await _STOP.run(client, (keys.record,), (by,))
        if not reply:
            return None
        return StopAnswer.ENDED if reply == b"ended" else StopAnswer.STOPPING
