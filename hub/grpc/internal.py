"""The gRPC service hub.v1.HubInternal, for backends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import grpc
import msgspec
from msgspec import UNSET

from hub.api.json_decoding import decode_json_field
from hub.api.publish_requests import (
    NULL,
    InboxBody,
    PublishBody,
    PublishRequests,
    PushBody,
    Recipients,
)
from hub.core.push_message import Urgency
from hub.errors import BadRequest
from hub.grpc import hub_pb2 as pb
from hub.grpc.producers import ProducerCalls
from hub.grpc.request_context import Context, GrpcRequestContext
from hub.grpc.statuses import StatusMapper

NAME: Final = pb.DESCRIPTOR.services_by_name["HubInternal"].full_name

_URGENCIES: Final[Mapping[int, Urgency]] = {
    pb.URGENCY_NORMAL: "normal",
    pb.URGENCY_VERY_LOW: "very-low",
    pb.URGENCY_LOW: "low",
    pb.URGENCY_HIGH: "high",
}


class HubInternalService:
    """The calls of the service. producers: those of external producers."""

    def __init__(
        self, requests: PublishRequests, producers: ProducerCalls, statuses: StatusMapper
    ) -> None:
        self._requests = requests
        self._producers = producers
        self._statuses = statuses

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Publish": grpc.unary_unary_rpc_method_handler(
                    self._statuses.wrap(f"{NAME}/Publish", self.publish),
                    pb.PublishRequest.FromString,
                    pb.PublishResponse.SerializeToString,
                ),
                **self._producers.handlers(),
            },
        )

    async def publish(self, request: pb.PublishRequest, context: Context) -> pb.PublishResponse:
        """Publish an event. A caller that disconnects does not interrupt the publish."""
        key = self._requests.authenticate(GrpcRequestContext(f"/{NAME}/Publish", context))
        self._requests.rate_limits.check(key)
        response = await asyncio.shield(self._requests.publish(publish_body(request)))
        return pb.PublishResponse(
            published=[
                pb.Published(
                    channel=each.channel,
                    cursor=each.cursor,
                    duplicate=each.duplicate,
                    replicas=None if each.replicas is UNSET else each.replicas,
                    item=None if each.item is UNSET else each.item,
                )
                for each in response.published
            ]
        )


def publish_body(request: pb.PublishRequest) -> PublishBody:
    """Convert a request to the body of POST /publish. Raise BadRequest that names the field."""
    which = request.WhichOneof("to")
    to = Recipients(
        user=request.user if which == "user" else None,
        users=list(request.users.ids) if which == "users" else None,
        topic=request.topic if which == "topic" else None,
        all=request.all,
    )
    return PublishBody(
        to=to,
        event=request.event or "notification",
        data=decode_json_field(request.data, msgspec.Raw, "data") or NULL,
        id=request.id or None,
        ephemeral=request.ephemeral,
        ttl_seconds=request.ttl_seconds if request.HasField("ttl_seconds") else None,
        inbox=_inbox_body(request.inbox) if request.HasField("inbox") else None,
        push=_push_body(request.push) if request.HasField("push") else None,
    )


def _inbox_body(options: pb.InboxOptions) -> InboxBody:
    return InboxBody(
        category=options.category or None,
        key=options.key or None,
        expires_seconds=options.expires_seconds if options.HasField("expires_seconds") else None,
        required=options.required,
    )


def _push_body(message: pb.PushMessage) -> PushBody:
    urgency = _URGENCIES.get(message.urgency)
    if urgency is None:
        raise BadRequest(f"there is no urgency {message.urgency}", path="push.urgency")
    return PushBody(
        title=message.title,
        body=message.body,
        url=message.url,
        tag=message.tag,
        icon=message.icon,
        urgency=urgency,
        ttl_seconds=message.ttl_seconds if message.HasField("ttl_seconds") else None,
    )
