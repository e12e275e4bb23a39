"""From a backend's message to events in channels: checks, and one call to the broker."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hub.core.channel import Channel
from hub.core.event import check_event_name, check_idempotency_key
from hub.engine.node_metrics import NodeMetrics
from hub.errors import BadRequest, BrokerUnavailable, CallerError, HubError, TooLarge
from hub.ports.events import EventWriter, Publication, Published


class PublishRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend wishes to be seen. `data` is compact JSON in UTF-8."""

    to: Sequence[Channel]
    event: str
    data: bytes
    idempotency_key: str | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None


class Publisher:
    """Publishes messages; each of a message's channels gets the event once."""

    def __init__(
        self, events: EventWriter, *, max_data_bytes: int, metrics: NodeMetrics | None = None
    ) -> None:
        self._counts = metrics or NodeMetrics()
        self._events = events
        self._max_data_bytes = max_data_bytes

    async def publish(self, request: PublishRequest) -> list[tuple[Channel, Published]]:
        """What became of it in each channel. Raises CallerError and BrokerUnavailable."""
        self.check(request)
        answers = await self._events.publish(_publications(request))
        for answer in answers:
            self._counts.published[answer.outcome.value] += 1
        return list(zip(request.to, answers, strict=True))

    async def try_publish(
        self, requests: Sequence[PublishRequest]
    ) -> list[list[tuple[Channel, Published]] | HubError]:
        """What became of each; a refused one harms no other. One call to the broker for all."""
        publications: list[Publication] = []
        results: list[list[tuple[Channel, Published]] | HubError] = []
        for message in requests:
            try:
                self.check(message)
            except CallerError as error:
                results.append(error)
            else:
                results.append([])
                publications += _publications(message)
        answers = iter(await self._events.try_publish(publications))
        for n, message in enumerate(requests):
            result = results[n]
            if not isinstance(result, HubError):
                for channel in message.to:
                    answer = next(answers)
                    if isinstance(answer, BrokerUnavailable):
                        results[n] = answer
                    else:
                        self._counts.published[answer.outcome.value] += 1
                        result.append((channel, answer))
        return results

    def check(self, request: PublishRequest) -> None:
        """Raises CallerError, naming the field, for a message that may not be published."""
        check_event_name(request.event)
        if request.idempotency_key is not None:
            check_idempotency_key(request.idempotency_key)
        if request.ttl_seconds is not None and not 0 < request.ttl_seconds < 10**9:
            raise BadRequest("ttl_seconds is a number above 0", path="ttl_seconds")
        if len(request.data) > self._max_data_bytes:
            raise TooLarge(
                f"data is {len(request.data)} bytes; at most {self._max_data_bytes} are taken",
                path="data",
            )


def _publications(message: PublishRequest) -> list[Publication]:
    return [
        Publication(
            channel=channel,
            name=message.event,
            data=message.data,
            idempotency_key=message.idempotency_key,
            ephemeral=message.ephemeral,
            ttl_seconds=message.ttl_seconds,
        )
        for channel in message.to
    ]
