"""hub.v1.HubInternal: what backends may call."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc
import msgspec

from hub.api.api_keys import ApiKeys
from hub.engine.node_metrics import NodeMetrics
from hub.engine.publisher import Publisher
from hub.grpc import hub_pb2 as pb
from hub.grpc.fields import json_field
from hub.grpc.request_context import Context, GrpcRequestContext
from hub.grpc.statuses import StatusMapper
from hub.http.publish import PublishBody, PublishLimits, PublishRateLimits, To, publish_response

NAME: Final = pb.DESCRIPTOR.services_by_name["HubInternal"].full_name


class HubInternalService:
    """Its calls."""

    def __init__(
        self,
        publisher: Publisher,
        keys: ApiKeys,
        limits: PublishLimits,
        rates: PublishRateLimits,
        counts: NodeMetrics,
    ) -> None:
        self._publisher = publisher
        self._keys = keys
        self._limits = limits
        self._statuses = StatusMapper(counts, "internal")
        self._rates = rates

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            NAME,
            {
                "Publish": grpc.unary_unary_rpc_method_handler(
                    self._statuses.of(f"{NAME}/Publish", self.publish),
                    pb.PublishRequest.FromString,
                    pb.PublishResponse.SerializeToString,
                ),
            },
        )

    async def publish(self, request: pb.PublishRequest, context: Context) -> pb.PublishResponse:
        """One event, to whom it says. A caller that leaves meanwhile does not cut it."""
        self._rates.check(
            self._keys.check(GrpcRequestContext(f"/{NAME}/Publish", context), "publish")
        )
        message = body_of(request).message(max_recipients=self._limits.max_recipients)
        published = publish_response(await asyncio.shield(self._publisher.publish(message)))
        return pb.PublishResponse(
            published=[pb.Published(**msgspec.structs.asdict(each)) for each in published.published]
        )


def body_of(request: pb.PublishRequest) -> PublishBody:
    """What POST /publish takes. Raises BadRequest that names the field."""
    which = request.WhichOneof("to")
    to = To(
        user=request.user if which == "user" else None,
        users=list(request.users.ids) if which == "users" else None,
        topic=request.topic if which == "topic" else None,
        all=request.all,
    )
    return PublishBody(
        to=to,
        event=request.event or "notification",
        data=json_field(request.data, msgspec.Raw, "data") or msgspec.Raw(b"null"),
        id=request.id or None,
        ephemeral=request.ephemeral,
        ttl_seconds=request.ttl_seconds if request.HasField("ttl_seconds") else None,
    )
