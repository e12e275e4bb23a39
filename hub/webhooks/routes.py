"""The internal API of webhooks: endpoints, their state, and the deliveries that wait or failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import structlog
from aiohttp import web

from hub.api.api_keys import ApiKeys
from hub.core.channel import ALL, Channel
from hub.core.public_addresses import find_url_problem
from hub.core.webhooks import EVENT_NAMES, TEST_EVENT, WEBHOOK_QUEUE, Endpoint, EventName
from hub.error_codes import DELIVERY_NOT_FOUND, WEBHOOK_NOT_FOUND
from hub.errors import BadRequest, NotFound
from hub.http.json_body import json_response, read_json
from hub.http.parameters import LIMIT, query_limit
from hub.http.routing import Operation, Parameter, ResponseSpec, build_routes, json, json_body, key
from hub.ports.deliveries import DeliveryStore, StoredDelivery
from hub.webhooks.endpoints import Endpoints
from hub.webhooks.events import WebhookDeliveries

_MAX_BODY_BYTES: Final = 16 * 1024
_MASK: Final = "whsec_***"
_WEBHOOK_ID: Final = Parameter("path", "webhook_id", str, "The id of a webhook")
_DELIVERY_ID: Final = Parameter("path", "delivery_id", str, "The id of a delivery: `webhook-id`")
_log = structlog.get_logger(__name__)


class WebhookBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /webhooks. Without `events`, the webhook gets all events. With
    `include: record`, the end of an answer comes with the whole answer.
    """

    url: str
    events: list[EventName] | None = None
    include: Literal["record"] | None = None


class CreatedWebhook(msgspec.Struct, frozen=True):
    """`secret` is shown only this time."""

    id: str
    secret: str


class WebhookInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook. `secrets` are masked. `failures` is the number of attempts in a row that failed,
    `error` the newest one. A webhook is `paused` for `paused_seconds` when it keeps failing.
    """

    id: str
    url: str
    events: list[str]
    include: Literal["record"] | None
    source: Literal["settings", "api"]
    secrets: list[str]
    state: Literal["active", "failing", "paused"]
    failures: int
    paused_seconds: float
    error: str | None


class WebhooksResponse(msgspec.Struct, frozen=True):
    """All webhooks, and how many deliveries wait, are dead letters, and were dropped."""

    webhooks: list[WebhookInfo]
    waiting: int
    dead: int
    dropped: int


class DeliveryInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery. `webhook` is the id of the webhook, `added_at` a Unix time in seconds. `attempts`
    are the newest failed ones: each is a Unix time, a space and what went wrong. `body` is what is
    sent; lists do not have it.
    """

    id: str
    webhook: str
    state: Literal["waiting", "dead"]
    event: str
    channel: str
    added_at: float
    failures: int
    attempts: list[str]
    body: Any = None


class DeliveriesResponse(msgspec.Struct, frozen=True):
    """Dead letters, newest first, or of each receiver and user the first one that waits."""

    deliveries: list[DeliveryInfo]


class QueuedTest(msgspec.Struct, frozen=True):
    """`delivery` is the id of the test's delivery; it is gone when it was received."""

    delivery: str


class WebhookRoutes:
    """The routes of webhooks on the internal listener. All of them require the scope `admin`."""

    def __init__(
        self,
        endpoints: Endpoints,
        store: DeliveryStore,
        deliveries: WebhookDeliveries,
        keys: ApiKeys,
    ) -> None:
        self._endpoints = endpoints
        self._store = store
        self._deliveries = deliveries
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="createWebhook",
        method="POST",
        paths=["/webhooks"],
        tag="webhooks",
        summary="Create a webhook",
        security=key("admin"),
        body=json_body(WebhookBody),
        responses=[json(201, CreatedWebhook, "The webhook was created.")],
        refuses=[409],
    )
    async def create(self, request: web.Request) -> web.Response:
        """Creates a webhook. All nodes and workers know it within five seconds; the URL must be
        HTTPS and lead to a public address.
        """
        by = self._keys.check(request, "admin")
        body = await read_json(request, WebhookBody, max_bytes=_MAX_BODY_BYTES)
        problem = find_url_problem(body.url)
        if problem is not None:
            raise BadRequest(f"url {problem}", path="url")
        if body.events is not None and not body.events:
            raise BadRequest("events must have at least one name", path="events")
        events = EVENT_NAMES if body.events is None else tuple(dict.fromkeys(body.events))
        endpoint = await self._endpoints.create(body.url, events, body.include)
        _log.info("audit.webhook_created", by=by, endpoint=endpoint.id)
        return json_response(CreatedWebhook(endpoint.id, endpoint.secrets[0]), status=201)

    @Operation(
        id="listWebhooks",
        method="GET",
        paths=["/webhooks"],
        tag="webhooks",
        summary="List the webhooks",
        security=key("admin"),
        responses=[json(200, WebhooksResponse, "The webhooks.")],
    )
    async def list_all(self, request: web.Request) -> web.Response:
        """Lists the webhooks of the settings and of the API, and the state of each."""
        self._keys.check(request, "admin")
        await self._endpoints.refresh()
        counts = await self._store.counts(WEBHOOK_QUEUE)
        webhooks = [self._describe(endpoint) for endpoint in self._endpoints.all()]
        response = WebhooksResponse(webhooks, counts.waiting, counts.dead, counts.dropped)
        return json_response(response)

    @Operation(
        id="deleteWebhook",
        method="DELETE",
        paths=["/webhooks/{webhook_id}"],
        tag="webhooks",
        summary="Delete a webhook",
        security=key("admin"),
        parameters=[_WEBHOOK_ID],
        responses=[ResponseSpec(status=204, description="The webhook was deleted.")],
        refuses=[404, 409],
    )
    async def delete(self, request: web.Request) -> web.Response:
        """Deletes a webhook of the API. What waits for it is dropped."""
        by = self._keys.check(request, "admin")
        await self._endpoints.delete(request.match_info["webhook_id"])
        _log.info("audit.webhook_deleted", by=by, endpoint=request.match_info["webhook_id"])
        return web.Response(status=204)

    @Operation(
        id="testWebhook",
        method="POST",
        paths=["/webhooks/{webhook_id}/test"],
        tag="webhooks",
        summary="Send a test",
        security=key("admin"),
        parameters=[_WEBHOOK_ID],
        responses=[json(202, QueuedTest, "The test will be sent.")],
        refuses=[404],
    )
    async def test(self, request: web.Request) -> web.Response:
        """Sends the event `webhook.test` to a webhook, in the same way as any other event."""
        self._keys.check(request, "admin")
        identifier = request.match_info["webhook_id"]
        endpoint = self._endpoints.get(identifier)
        if endpoint is None:
            await self._endpoints.refresh()
            endpoint = self._endpoints.get(identifier)
        if endpoint is None:
            raise NotFound(f"there is no webhook {identifier}", code=WEBHOOK_NOT_FOUND)
        delivery = self._deliveries.build_one(
            endpoint, TEST_EVENT, Channel(ALL), {"webhook": endpoint.id}
        )
        await self._store.add([delivery])
        return json_response(QueuedTest(delivery.id), status=202)

    @Operation(
        id="listWebhookDeliveries",
        method="GET",
        paths=["/webhooks/deliveries"],
        tag="webhooks",
        summary="List deliveries",
        security=key("admin"),
        parameters=[
            LIMIT,
            Parameter(
                "query",
                "state",
                Literal["dead", "waiting"],
                "`dead` (the default): dead letters; `waiting`: those that wait or are being sent",
            ),
        ],
        responses=[json(200, DeliveriesResponse, "The deliveries, without their bodies.")],
    )
    async def deliveries(self, request: web.Request) -> web.Response:
        """Lists dead letters, or the first waiting delivery of each webhook and user."""
        self._keys.check(request, "admin")
        state = request.query.get("state", "dead")
        if state not in ("dead", "waiting"):
            raise BadRequest("state must be dead or waiting", path="state")
        read = self._store.list_dead if state == "dead" else self._store.list_waiting
        stored = await read(WEBHOOK_QUEUE, query_limit(request))
        return json_response(DeliveriesResponse([_describe_delivery(each) for each in stored]))

    @Operation(
        id="getWebhookDelivery",
        method="GET",
        paths=["/webhooks/deliveries/{delivery_id}"],
        tag="webhooks",
        summary="Read a delivery",
        security=key("admin"),
        parameters=[_DELIVERY_ID],
        responses=[json(200, DeliveryInfo, "The delivery with its attempts and its body.")],
        refuses=[404],
    )
    async def delivery(self, request: web.Request) -> web.Response:
        """Returns a delivery that waits or is a dead letter. One that was received is gone."""
        self._keys.check(request, "admin")
        identifier = request.match_info["delivery_id"]
        stored = await self._store.find(WEBHOOK_QUEUE, identifier)
        if stored is None:
            raise _unknown_delivery(identifier)
        return json_response(_describe_delivery(stored, has_body=True))

    @Operation(
        id="replayWebhookDelivery",
        method="POST",
        paths=["/webhooks/deliveries/{delivery_id}/replay"],
        tag="webhooks",
        summary="Send a dead letter again",
        security=key("admin"),
        parameters=[_DELIVERY_ID],
        responses=[ResponseSpec(status=202, description="The delivery will be sent again.")],
        refuses=[404],
    )
    async def replay(self, request: web.Request) -> web.Response:
        """Adds a dead letter to the end of its queue again, with the same id and body."""
        by = self._keys.check(request, "admin")
        identifier = request.match_info["delivery_id"]
        if not await self._store.replay(WEBHOOK_QUEUE, identifier):
            raise _unknown_delivery(identifier)
        _log.info("audit.delivery_replayed", by=by, delivery=identifier)
        return web.Response(status=202)

    def _describe(self, endpoint: Endpoint) -> WebhookInfo:
        state = self._endpoints.state_of(endpoint.id)
        paused = self._endpoints.paused_seconds(endpoint.id)
        return WebhookInfo(
            id=endpoint.id,
            url=endpoint.url,
            events=list(endpoint.events),
            include="record" if endpoint.include else None,
            source="settings" if endpoint.is_from_settings else "api",
            secrets=[_MASK] * len(endpoint.secrets),
            state="paused" if paused else "active" if state is None else "failing",
            failures=0 if state is None else state.failures,
            paused_seconds=round(paused, 1),
            error=None if state is None else state.error,
        )


def _describe_delivery(stored: StoredDelivery, *, has_body: bool = False) -> DeliveryInfo:
    body = msgspec.json.decode(stored.body)
    attempts: Sequence[str] = stored.errors
    return DeliveryInfo(
        id=stored.id,
        webhook=stored.lane,
        state="dead" if stored.state == "dead" else "waiting",
        event=body["type"],
        channel=stored.channel,
        added_at=stored.added_at,
        failures=stored.failures,
        attempts=list(attempts),
        body=body if has_body else None,
    )


def _unknown_delivery(identifier: str) -> NotFound:
    return NotFound(f"there is no delivery {identifier}", code=DELIVERY_NOT_FOUND)
