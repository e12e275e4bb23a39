"""One attempt of a webhook: a signed POST, of which only a status of 2xx counts as received.

Rules:
1. An endpoint that keeps failing is paused by all workers, longer each time. During a pause nothing
   is sent to it, its deliveries wait, and after the pause the next attempt decides.
2. An endpoint has at most three quarters of a worker's attempts, so that one that hangs leaves room
   for the others.
3. A delivery for an endpoint of the API that does not exist any more is dropped. One for an
   endpoint of the settings waits, because another worker may have newer settings.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import structlog

from hub.core.deliveries import Done, Failed, Postponed, SendResult
from hub.core.webhooks import Endpoint, build_headers, is_settings_endpoint_id
from hub.http.outgoing import PublicHttpClient, RequestFailed
from hub.ports.deliveries import TakenDelivery
from hub.ports.webhooks import PausePolicy, WebhookStore
from hub.webhooks.endpoints import Endpoints

_BUSY_SECONDS: Final = 0.5
_MAX_PAUSE_STEP_SECONDS: Final = 60.0
_UNKNOWN_SECONDS: Final = 15.0
PAUSES: Final = PausePolicy(failures=10, failing_seconds=60.0, min_seconds=30.0, max_seconds=900.0)
_log = structlog.get_logger(__name__)


class WebhookSender:
    """Sends webhooks.

    public: the client for URLs of the API; private: the one for endpoints with `allow_private`.
    max_per_endpoint: the number of attempts at once for one endpoint. now: Unix time in seconds.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        store: WebhookStore,
        public: PublicHttpClient,
        private: PublicHttpClient,
        *,
        max_per_endpoint: int,
        pauses: PausePolicy = PAUSES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._endpoints = endpoints
        self._store = store
        self._public = public
        self._private = private
        self._max_per_endpoint = max_per_endpoint
        self._pauses = pauses
        self._now = now
        self._running: Counter[str] = Counter()  # attempts by endpoint
        self._failing: set[str] = set()  # endpoints whose last attempt here failed

    async def send(self, delivery: TakenDelivery) -> SendResult:
        """Make one attempt. Raise BrokerUnavailable."""
        endpoint = self._endpoints.get(delivery.lane)
        if endpoint is None:
            await self._endpoints.refresh()  # it may be a new one
            endpoint = self._endpoints.get(delivery.lane)
        if endpoint is None and is_settings_endpoint_id(delivery.lane):
            return Postponed(_UNKNOWN_SECONDS * (1 + random.random()))
        if endpoint is None:
            _log.info("webhook.dropped", delivery=delivery.id, endpoint=delivery.lane)
            return Done()
        paused = self._endpoints.paused_seconds(endpoint.id)
        if paused > 0:
            return Postponed(min(paused, _MAX_PAUSE_STEP_SECONDS) * (1 + random.random() / 4))
        if self._running[endpoint.id] >= self._max_per_endpoint:
            return Postponed(_BUSY_SECONDS * (1 + random.random()))
        self._running[endpoint.id] += 1
        try:
            failure = await self._post(endpoint, delivery)
        finally:
            self._running[endpoint.id] -= 1
        await self._record(endpoint, failure)
        return failure or Done()

    async def _post(self, endpoint: Endpoint, delivery: TakenDelivery) -> Failed | None:
        headers = build_headers(endpoint, delivery.id, delivery.body, self._now())
        client = self._private if endpoint.allow_private else self._public
        try:
            response = await client.post(endpoint.url, delivery.body, headers)
        except RequestFailed as error:
            return Failed(str(error))
        if 200 <= response.status < 300:
            return None
        text = f"status {response.status}"
        if 300 <= response.status < 400:
            text += "; redirects are not followed"
        return Failed(text, self._retry_after(response.headers))

    def _retry_after(self, headers: Mapping[str, str]) -> float:
        """Return the seconds of a Retry-After header (RFC 9110, 10.2.3), 0 without a valid one."""
        text = headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return float(text[:12])
        try:
            due = parsedate_to_datetime(text)
            return max(0.0, due.replace(tzinfo=due.tzinfo or UTC).timestamp() - self._now())
        except (ValueError, OverflowError):
            return 0.0

    async def _record(self, endpoint: Endpoint, failure: Failed | None) -> None:
        if failure is not None:
            self._failing.add(endpoint.id)
            before = self._endpoints.paused_seconds(endpoint.id)
            state = await self._store.record_failure(endpoint.id, failure.error, self._pauses)
            if state.paused_seconds > 0 and not before:
                _log.warning(
                    "webhook.paused",
                    endpoint=endpoint.id,
                    seconds=round(state.paused_seconds),
                    error=failure.error,
                )
                await self._endpoints.refresh()
        elif endpoint.id in self._failing or self._endpoints.state_of(endpoint.id) is not None:
            self._failing.discard(endpoint.id)
            await self._store.record_success(endpoint.id)
            await self._endpoints.refresh()
            _log.info("webhook.recovered", endpoint=endpoint.id)
