"""The deliveries of events: written in the same atomic step as the event.

WebhookEventLog wraps the event log of a process. Whatever ends an answer, a worker, a node, a
producer outside or the reconciler, publishes the end through this log, so no end goes without its
webhooks. A broker that refuses the end refuses them too.

Nothing is read or written for an answer unless an endpoint wants its event. `include: record`, and
an answer in a topic, cost one read of the record before its end.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.deliveries import Delivery, delivery_id, new_delivery_id
from hub.core.generation import Generation, GenerationUpdate, UpdateKind
from hub.core.inputs import INPUT_REQUESTED
from hub.core.webhooks import (
    MAX_BODY_BYTES,
    WEBHOOK_QUEUE,
    Endpoint,
    build_body,
    channel_fields,
)
from hub.errors import BrokerUnavailable
from hub.http.routes.generation_snapshot import describe_generation
from hub.ports.events import EventLog, Page, Publication, Published
from hub.ports.generations import GenerationStore
from hub.webhooks.endpoints import Endpoints

_TOO_LARGE: Final = "too_large"


class WebhookDeliveries:
    """Implements ports.webhooks.EventDeliveries. now: Unix time in seconds."""

    def __init__(self, endpoints: Endpoints, now: Callable[[], float] = time.time) -> None:
        self._endpoints = endpoints
        self._now = now

    def build(self, event: str, channel: Channel, data: Mapping[str, Any]) -> list[Delivery]:
        return [
            self.build_one(endpoint, event, channel, {**channel_fields(channel), **data})
            for endpoint in self._endpoints.of_event(event)
        ]

    def build_one(
        self,
        endpoint: Endpoint,
        event: str,
        channel: Channel,
        data: Mapping[str, Any],
        *,
        name: str | None = None,
    ) -> Delivery:
        """Return the delivery of an event for an endpoint.

        name: what the id is made from, if the same event must not be sent twice.
        """
        identifier = new_delivery_id(channel)
        if name is not None:
            digest = hashlib.sha256(f"{endpoint.id} {name}".encode()).hexdigest()
            identifier = delivery_id(channel, digest[:32])
        return Delivery(
            queue=WEBHOOK_QUEUE,
            channel=channel,
            lane=endpoint.id,
            id=identifier,
            body=build_body(event, data, self._now()),
        )


class WebhookEventLog:
    """Implements ports.events.EventLog: adds deliveries to the events of answers."""

    def __init__(
        self,
        events: EventLog,
        store: GenerationStore,
        endpoints: Endpoints,
        deliveries: WebhookDeliveries,
    ) -> None:
        self._events = events
        self._store = store
        self._endpoints = endpoints
        self._deliveries = deliveries

    async def read(
        self, after: Mapping[Channel, Position | None], *, max_events: int, max_bytes: int
    ) -> Mapping[Channel, Page]:
        return await self._events.read(after, max_events=max_events, max_bytes=max_bytes)

    async def heads(self, channels: Sequence[Channel]) -> Mapping[Channel, Position | None]:
        return await self._events.heads(channels)

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        if self._has_deliveries(publications):
            publications = await self._with_deliveries(publications)
        return await self._events.publish(publications)

    async def try_publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | BrokerUnavailable]:
        if not self._has_deliveries(publications):
            return await self._events.try_publish(publications)
        try:
            publications = await self._with_deliveries(publications)
        except BrokerUnavailable as error:
            return [error] * len(publications)
        return await self._events.try_publish(publications)

    async def erase(self, channel: Channel) -> None:
        await self._events.erase(channel)

    def _has_deliveries(self, publications: Sequence[Publication]) -> bool:
        return any(map(self._endpoints_of, publications))

    def _endpoints_of(self, publication: Publication) -> Sequence[Endpoint]:
        """Return the endpoints that get an event of an answer."""
        update = publication.update
        if update is None:
            return ()
        if update.kind is not UpdateKind.END and publication.name != INPUT_REQUESTED:
            return ()
        return self._endpoints.of_event(publication.name)

    async def _with_deliveries(self, publications: Sequence[Publication]) -> list[Publication]:
        return [
            await self._add_deliveries(publication, publications[:n])
            for n, publication in enumerate(publications)
        ]

    async def _add_deliveries(
        self, publication: Publication, before: Sequence[Publication]
    ) -> Publication:
        """Return a publication with its deliveries. before: what the same call publishes first."""
        endpoints, update = self._endpoints_of(publication), publication.update
        if not endpoints or update is None:
            return publication
        data = msgspec.json.decode(publication.data)
        record = None
        is_end = update.kind is UpdateKind.END
        if "user" not in channel_fields(publication.channel) or (
            is_end and any(endpoint.include for endpoint in endpoints)
        ):
            record = await self._store.find(update.generation)
        fields = channel_fields(publication.channel)
        if record is not None:
            fields["user"] = record.user
        name = f"{update.generation} {publication.name}"
        if not is_end:
            name += f" {update.attempt} {data.get('input')}"
        deliveries = []
        for endpoint in endpoints:
            more = {**fields, **data}
            if endpoint.include and is_end and record is not None:
                more |= _include(_ended(record, before, update, data))
            deliveries.append(
                self._deliveries.build_one(
                    endpoint, publication.name, publication.channel, more, name=name
                )
            )
        return msgspec.structs.replace(
            publication, deliveries=[*publication.deliveries, *deliveries]
        )


def _ended(
    record: Generation,
    before: Sequence[Publication],
    end: GenerationUpdate,
    data: Mapping[str, Any],
) -> Generation:
    """Return a record as it is after the end, and after what is published before the end."""
    for publication in before:
        update = publication.update
        if update is not None and update.generation == record.id:
            record = _updated(record, update)
    return msgspec.structs.replace(
        record, status=end.status, end=dict(data), journal=record.journal + end.entries
    )


def _updated(record: Generation, update: GenerationUpdate) -> Generation:
    """Return a record after an update, unless it has it already (update_generation.lua)."""
    journal, entries, kind = record.journal, update.entries, update.kind
    has_position = update.journal_bytes in (None, len(journal))
    if kind in (UpdateKind.DELTA, UpdateKind.REPLACE) and update.index >= record.deltas:
        journal = journal + entries if kind is UpdateKind.DELTA else entries
        return msgspec.structs.replace(record, journal=journal, deltas=update.index + 1)
    if kind is UpdateKind.STORE and has_position:
        return msgspec.structs.replace(record, journal=journal + entries)
    if kind is UpdateKind.COMPACT and has_position:
        return msgspec.structs.replace(record, journal=entries)
    if kind is UpdateKind.RESTART:
        return msgspec.structs.replace(record, journal=entries, deltas=0)
    if kind is UpdateKind.BEGIN and update.attempt > record.attempt:
        return msgspec.structs.replace(
            record, journal=entries, deltas=update.index, attempt=update.attempt
        )
    return record


def _include(record: Generation) -> dict[str, Any]:
    """Return the fields of a body that has the record, if it is not too large."""
    described = describe_generation(record, has_hidden_parts=True)
    if len(msgspec.json.encode(described)) > MAX_BODY_BYTES:
        return {"record": None, "record_omitted": _TOO_LARGE}
    return {"record": described}
