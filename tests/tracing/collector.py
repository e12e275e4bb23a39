"""A collector for OTLP over HTTP that keeps every span and every byte."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from hub.http.server import ListenAddress, listen


class Collector:
    """The received spans, by the service that sent them."""

    def __init__(self) -> None:
        self.url = ""
        self.received = b""
        self.resources: list[Any] = []
        self.spans: list[tuple[str, Span]] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.received += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(resource.resource.attributes)
            service = values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [(service, span) for span in scope.spans]
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    def find(self, service: str, name: str) -> Span:
        """Return the only span of that name."""
        named = [span for sender, span in self.spans if (sender, span.name) == (service, name)]
        assert len(named) == 1, [(sender, span.name) for sender, span in self.spans]
        return named[0]


def values(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dict; arrays as lists of strings."""
    decoded = {}
    for each in attributes:
        kind = each.value.WhichOneof("value")
        value = getattr(each.value, kind)
        decoded[each.key] = (
            [v.string_value for v in value.values] if kind == "array_value" else value
        )
    return decoded


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector on a free port."""
    collector = Collector()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", collector.take)])
    async with listen(app, ListenAddress("127.0.0.1", 0, "x"), cancel_handlers=False) as port:
        collector.url = f"http://127.0.0.1:{port}"
        yield collector
