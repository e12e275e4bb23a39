"""The routes of browsers: the public key, and the subscriptions of a user's devices."""

from __future__ import annotations

import msgspec
from aiohttp import web

from hub.api.authentication import Authenticator
from hub.core.push_subscription import web_push_subscription
from hub.error_codes import PUSH_NOT_CONFIGURED, PUSH_SUBSCRIPTION_NOT_FOUND
from hub.errors import NotFound
from hub.http.json_body import json_response, read_json
from hub.http.parameters import OPEN_USER
from hub.http.routing import (
    USER,
    Operation,
    Parameter,
    ResponseSpec,
    build_routes,
    json,
    json_body,
)
from hub.ports.push import PushSubscriptionStore

_MAX_BODY_BYTES = 8192
_SUBSCRIPTION = Parameter("path", "id", str, "The id of the subscription")


class PushKey(msgspec.Struct, frozen=True):
    """`public_key` is the `applicationServerKey` of `pushManager.subscribe`, in base64url."""

    public_key: str


class SubscriptionKeys(msgspec.Struct, frozen=True):
    """The keys of the browser in base64url: a public key of P-256, and a secret of 16 bytes."""

    p256dh: str
    auth: str


class SubscriptionBody(msgspec.Struct, frozen=True):
    """The body of POST /push/subscriptions: what `PushSubscription.toJSON()` returns. `endpoint` is
    a public HTTPS URL. The hub does not use `expirationTime`.
    """

    endpoint: str
    keys: SubscriptionKeys
    expiration_time: float | None = msgspec.field(name="expirationTime", default=None)


class SubscriptionResponse(msgspec.Struct, frozen=True):
    """`id` names the subscription in `DELETE /push/subscriptions/{id}`."""

    id: str


class PushRoutes:
    """The routes of push notifications on the public listener.

    public_key: None if the settings have no keys. allow_private: whether endpoints may be HTTP and
    lead to addresses that are not public.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        subscriptions: PushSubscriptionStore,
        *,
        public_key: str | None,
        allow_private: bool = False,
    ) -> None:
        self._authenticator = authenticator
        self._subscriptions = subscriptions
        self._public_key = public_key
        self._allow_private = allow_private

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="getPushKey",
        method="GET",
        paths=["/push/key"],
        tag="push",
        summary="Get the key for push subscriptions",
        responses=[json(200, PushKey, "The key.")],
        refuses=[404],
    )
    async def key(self, request: web.Request) -> web.Response:
        """Returns the public key with which a browser subscribes to push notifications."""
        return json_response(PushKey(self._configured_key()))

    @Operation(
        id="createPushSubscription",
        method="POST",
        paths=["/push/subscriptions"],
        tag="push",
        summary="Add a device for push notifications",
        security=USER,
        parameters=[OPEN_USER],
        body=json_body(SubscriptionBody),
        responses=[
            json(201, SubscriptionResponse, "The subscription was added."),
            json(
                200,
                SubscriptionResponse,
                "The subscription was known. It belongs to the user of this request now.",
            ),
        ],
        refuses=[404],
    )
    async def subscribe(self, request: web.Request) -> web.Response:
        """Stores the push subscription of a browser for the user of the request. A browser has one
        user at a time: a known endpoint moves to this user. The same request again renews the time
        for which the subscription is kept.
        """
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        self._configured_key()
        body = await read_json(request, SubscriptionBody, max_bytes=_MAX_BODY_BYTES)
        subscription = web_push_subscription(
            body.endpoint, body.keys.p256dh, body.keys.auth, allow_private=self._allow_private
        )
        is_new = await self._subscriptions.put(identity.user, subscription)
        return json_response(SubscriptionResponse(subscription.id), status=201 if is_new else 200)

    @Operation(
        id="deletePushSubscription",
        method="DELETE",
        paths=["/push/subscriptions/{id}"],
        tag="push",
        summary="Remove a device from push notifications",
        security=USER,
        parameters=[_SUBSCRIPTION, OPEN_USER],
        responses=[ResponseSpec(status=204, description="The subscription was removed.")],
        refuses=[404],
    )
    async def unsubscribe(self, request: web.Request) -> web.Response:
        """Removes a push subscription of the user, for example when the user logs out."""
        identity = await self._authenticator.identify(request)
        identity.check_may_stream()
        if not await self._subscriptions.remove(identity.user, request.match_info["id"]):
            raise NotFound(
                "you have no push subscription with this id", code=PUSH_SUBSCRIPTION_NOT_FOUND
            )
        return web.Response(status=204)

    def _configured_key(self) -> str:
        if self._public_key is None:
            raise NotFound("this hub sends no push notifications", code=PUSH_NOT_CONFIGURED)
        return self._public_key
