"""The endpoints of webhooks in Redis: one hash, and one small hash for each endpoint that fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from hub.backends.redis.client import RedisClient, Script, ScriptCall
from hub.backends.redis.client.connection import Argument
from hub.backends.redis.keys import JOBS_PARTITION, WEBHOOK_STATES, WEBHOOKS
from hub.core.webhooks import Endpoint
from hub.ports.webhooks import EndpointState, PausePolicy, StoredWebhooks

_PACKAGE: Final = "hub.backends.redis"
_PUT: Final = Script(_PACKAGE, "put_webhook", is_repeatable=True)
_DELETE: Final = Script(_PACKAGE, "delete_webhook", needs_memory=False)
_READ: Final = Script(
    _PACKAGE, "channel_head", "read_webhooks", needs_memory=False, is_repeatable=True
)
_RECORD: Final = Script(_PACKAGE, "channel_head", "record_webhook", needs_memory=False)
_MAX_PAUSE_MS: Final = 86_400_000  # longer ones come from another clock
_STATE_TTL_MS: Final = 7 * 86_400_000


class RedisWebhookStore:
    """Implements ports.webhooks.WebhookStore."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def put(self, endpoint: Endpoint, max_endpoints: int) -> bool:
        body = msgspec.json.encode(endpoint)
        return bool(await self._run(_PUT, (WEBHOOKS,), endpoint.id, body, max_endpoints))

    async def delete(self, endpoint: str) -> bool:
        return bool(await self._run(_DELETE, (WEBHOOKS, WEBHOOK_STATES + endpoint), endpoint))

    async def read(self, known: Sequence[str]) -> StoredWebhooks:
        bodies, states = await self._run(_READ, (WEBHOOKS, WEBHOOK_STATES), _MAX_PAUSE_MS, *known)
        return StoredWebhooks(
            [msgspec.json.decode(body, type=Endpoint) for body in bodies],
            {name.decode(): _parse(*state) for name, *state in states},
        )

    async def record_failure(self, endpoint: str, error: str, policy: PausePolicy) -> EndpointState:
        reply = await self._run(
            _RECORD,
            (WEBHOOK_STATES + endpoint,),
            error,
            policy.failures,
            round(policy.failing_seconds * 1000),
            round(policy.min_seconds * 1000),
            round(policy.max_seconds * 1000),
            _STATE_TTL_MS,
        )
        failures, failing_ms, paused_ms = reply
        return _parse(failures, failing_ms, paused_ms, error.encode())

    async def record_success(self, endpoint: str) -> None:
        await self._client.call_key(JOBS_PARTITION, "DEL", WEBHOOK_STATES + endpoint)

    async def _run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        (reply,) = await self._client.run([ScriptCall(script, JOBS_PARTITION, keys, arguments)])
        return reply


def _parse(failures: int, failing_ms: int, paused_ms: int, error: bytes) -> EndpointState:
    return EndpointState(
        failures=failures,
        failing_seconds=failing_ms / 1000,
        paused_seconds=paused_ms / 1000,
        error=error.decode(),
    )
