"""The stream on which an external producer learns at once of what concerns its attempt."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from hub.api.producer_requests import PRODUCE, ProducerRequests, lease_of
from hub.core.inputs import ReceivedInput
from hub.core.steering import SteeringMessage
from hub.core.system_events import CONTROL_EVENTS
from hub.engine.external.control_stream import INPUT, LEASE_LOST, STEERING, STOP
from hub.http.parameters import GENERATION, LEASE
from hub.http.routing import EventSet, Operation, ResponseSpec, build_routes, key
from hub.http.streams import HttpStreams

_HUB_EVENTS: Final = ("hub.reset", "hub.bye")


class ProducerStop(msgspec.Struct, frozen=True):
    """Somebody has stopped the answer, which has ended. by: the user."""

    by: str


class ProducerLeaseLost(msgspec.Struct, frozen=True):
    """The lease is void: it has ended, or another attempt has begun."""


class ProducerControlRoutes:
    """The route of the internal listener that needs the scope `produce`."""

    def __init__(self, requests: ProducerRequests, http_streams: HttpStreams) -> None:
        self._requests = requests
        self._http_streams = http_streams

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @Operation(
        id="controlProducer",
        method="GET",
        paths=["/generations/{id}/control"],
        tag="producers",
        summary="Follow the signals for a producer",
        security=key(PRODUCE),
        parameters=[GENERATION, LEASE],
        responses=[
            ResponseSpec(
                status=200,
                description="The signals, until the attempt ends.",
                events=EventSet(
                    name="ProducerControl",
                    data={
                        INPUT: ReceivedInput,
                        STEERING: SteeringMessage,
                        STOP: ProducerStop,
                        LEASE_LOST: ProducerLeaseLost,
                        **{name: CONTROL_EVENTS[name] for name in _HUB_EVENTS},
                    },
                ),
            )
        ],
        refuses=[404, 409, 429],
        long_lived=True,
    )
    async def control(self, request: web.Request) -> web.StreamResponse:
        """Streams `input`, `steering`, `stop` and `lease_lost` to the producer of an answer, as
        soon as they happen. It begins with what there is so far, and does not renew the lease.
        """
        self._requests.authenticate(request)
        lease, generation = lease_of(request), request.match_info["id"]
        stream = await self._requests.open_control(generation, lease)
        return await self._http_streams.stream(request, stream, always_sse=True)
