"""The two applications of a node, on its engine."""

from __future__ import annotations

import aiohttp
from aiohttp import web

from hub.api.authentication import Authenticator, DenylistAuthenticator
from hub.api.client_address import ClientAddresses
from hub.api.generation_requests import GenerationRequests, UpstreamModels
from hub.compat.requests import CompatRequests
from hub.compat.templates.encoder import BUILT_IN_TEMPLATES, OutputTemplate
from hub.compat.templates.selection import HUB_EVENTS, TemplateSelection
from hub.engine.generations import Generations
from hub.engine.publisher import Publisher
from hub.errors import OperatorError
from hub.http.active_generations import ActiveGenerationRoutes
from hub.http.connect import ConnectRoutes
from hub.http.console import ConsoleRoutes
from hub.http.cors import AllowedOrigins
from hub.http.demo import DemoRoutes
from hub.http.generations import GenerationRoutes
from hub.http.health import HealthRoutes
from hub.http.internal import build_internal
from hub.http.js_client import JsClientRoutes
from hub.http.metrics import MetricsRoutes
from hub.http.public import Routes, build_public
from hub.http.publish import PublishLimits, PublishRoutes
from hub.http.publish_batch import PublishBatchRoutes
from hub.http.request_metrics import RequestMetrics
from hub.http.static_files import StaticFiles
from hub.http.streams import StreamLimits, Streams
from hub.http.tickets import TicketAuthenticator, TicketRoutes
from hub.http.usage import UsageRoutes
from hub.http.users import UserRoutes
from hub.http.websocket import WebSocketRoutes
from hub.settings import Settings
from hub.wiring.auth import build_api_keys, build_authenticator
from hub.wiring.node_parts import NodeParts
from hub.wiring.route_table import build_openapi, compat_routes


def public_application(
    settings: Settings, engine: NodeParts, session: aiohttp.ClientSession
) -> web.Application:
    """What browsers and apps may reach. Raises OperatorError."""
    origins = AllowedOrigins(settings.public.allowed_origins)
    entrance = build_authenticator(settings, origins, session, engine.clock)
    door = DenylistAuthenticator(entrance, engine.admin_commands.denylist)
    stream_door = DenylistAuthenticator(
        TicketAuthenticator(entrance, engine.tickets), engine.admin_commands.denylist
    )
    streams = Streams(
        engine.connections,
        engine.clock,
        stream_limits(settings),
        ClientAddresses(settings.public.trusted_proxies),
    )
    generations = engine.generations
    questions = build_generation_requests(settings, generations)
    resources: list[Routes] = [
        ConnectRoutes(streams, stream_door),
        WebSocketRoutes(
            streams, stream_door, origins, generations, questions, counts=engine.metrics
        ),
        GenerationRoutes(generations, streams, door, questions, build_templates(settings).select),
        *compat_routes(CompatRequests(generations, streams, door, questions, origins)),
        TicketRoutes(door, engine.tickets),
        JsClientRoutes(),
    ]
    demo = _demo(settings, door, engine.publisher)
    if demo is not None:
        resources.append(demo)
    tally = RequestMetrics(engine.metrics, "public")
    return build_public(
        resources, origins, tally, max_body_bytes=settings.generations.max_prompt_bytes
    )


def internal_application(
    settings: Settings, engine: NodeParts, metrics: MetricsRoutes
) -> web.Application:
    """What backends, operators and probes may reach."""
    keys = build_api_keys(settings)
    inside = Streams(engine.connections, engine.clock, stream_limits(settings), ClientAddresses([]))
    limits = publish_limits(settings)
    return build_internal(
        [
            PublishRoutes(engine.publisher, keys, limits, engine.rate_limits),
            PublishBatchRoutes(engine.publisher, keys, limits, engine.rate_limits),
            HealthRoutes(engine.broker, engine.connections, node=settings.node.name),
            UsageRoutes(engine.usage, keys),
            UserRoutes(engine.admin_commands, engine.connection_query, engine.broker, keys),
            ActiveGenerationRoutes(engine.queue, engine.store, keys),
            ConsoleRoutes(inside, keys, StaticFiles("console")),
            metrics,
        ],
        RequestMetrics(engine.metrics, "internal"),
        build_openapi,
        max_body_bytes=settings.publish.max_body_bytes,
    )


def publish_limits(settings: Settings) -> PublishLimits:
    """Of one publish."""
    return PublishLimits(
        max_body_bytes=settings.publish.max_body_bytes,
        max_recipients=settings.publish.max_recipients,
    )


def stream_limits(settings: Settings) -> StreamLimits:
    """Of one stream."""
    stream = settings.stream
    return StreamLimits(
        retry_ms=stream.retry_ms,
        max_age_seconds=stream.max_age_seconds,
        expiry_notice_seconds=stream.expiry_notice_seconds,
        max_per_address=stream.max_per_address,
        max_topics=stream.max_topics,
        outbox_max_events=stream.outbox_max_events,
        outbox_max_bytes=stream.outbox_max_bytes,
        write_buffer_bytes=stream.write_buffer_bytes,
    )


def build_generation_requests(settings: Settings, generations: Generations) -> GenerationRequests:
    """From what a client sends to a question that waits for its turn."""
    choices = {
        name: UpstreamModels(default_model=upstream.default_model, models=upstream.models)
        for name, upstream in settings.upstreams.items()
    }
    return GenerationRequests(
        generations,
        choices,
        default_upstream=settings.default_upstream or next(iter(choices), None),
        max_prompt_bytes=settings.generations.max_prompt_bytes,
    )


def build_templates(settings: Settings) -> TemplateSelection:
    """How answers may look. Raises OperatorError."""
    named = {name: OutputTemplate(**shape.model_dump()) for name, shape in settings.shapes.items()}
    known, default = {**BUILT_IN_TEMPLATES, **named}, settings.stream.shape
    if default is not None and default not in {HUB_EVENTS, *known}:
        raise OperatorError(f"stream.shape names {default!r}, which is not among the shapes")
    return TemplateSelection(known, default)


def _demo(settings: Settings, door: Authenticator, publisher: Publisher) -> DemoRoutes | None:
    if not settings.public.demo_page:
        return None
    return DemoRoutes(
        door,
        publisher if settings.auth.disabled else None,
        max_body_bytes=settings.publish.max_body_bytes,
    )
