"""The two applications of a node, on its node."""

from __future__ import annotations

from aiohttp import web

from hub.api.api_keys import ApiKeys
from hub.api.authentication import Authenticator, DenylistAuthenticator, TicketAuthenticator
from hub.api.client_address import ClientAddresses
from hub.api.generation_requests import GenerationRequests
from hub.api.job_requests import JobRequests
from hub.api.origins import AllowedOrigins
from hub.api.producer_requests import ProducerRequests
from hub.api.publish_requests import PublishLimits, PublishRequests
from hub.api.streamed_posts import StreamedPostLimits
from hub.api.streams import StreamLimits, Streams
from hub.compat.requests import CompatRequests
from hub.compat.templates.encoder import BUILT_IN_TEMPLATES, OutputTemplate
from hub.compat.templates.selection import HUB_EVENTS, TemplateSelection
from hub.engine.generations.generations import Generations
from hub.engine.publisher import Publisher
from hub.errors import OperatorError
from hub.http.applications import Routes, build_internal, build_public
from hub.http.request_metrics import RequestMetrics
from hub.http.routes.active_generations import ActiveGenerationRoutes
from hub.http.routes.connect import ConnectRoutes
from hub.http.routes.console import ConsoleRoutes
from hub.http.routes.demo import DemoRoutes
from hub.http.routes.dev_faults import DevFaultRoutes
from hub.http.routes.generation_streams import GenerationStreams
from hub.http.routes.generations import GenerationRoutes
from hub.http.routes.inputs import InputRoutes
from hub.http.routes.jobs import JobRoutes
from hub.http.routes.operator_generations import OperatorGenerationRoutes
from hub.http.routes.own_generations import OwnGenerationRoutes
from hub.http.routes.probes import MetricsRoutes, NodeProbeRoutes
from hub.http.routes.producer_control import ProducerControlRoutes
from hub.http.routes.producers import ProducerRoutes
from hub.http.routes.publish import PublishRoutes
from hub.http.routes.steering import SteeringRoutes
from hub.http.routes.tickets import TicketRoutes
from hub.http.routes.usage import UsageRoutes
from hub.http.routes.user_data import UserDataRoutes
from hub.http.routes.users import UserRoutes
from hub.http.routes.websocket import WebSocketRoutes
from hub.http.static_files import JsClientRoutes
from hub.http.streams import HttpStreams
from hub.inbox.internal import UserInboxRoutes
from hub.inbox.routes import InboxRoutes
from hub.push.routes import PushRoutes
from hub.settings import Settings
from hub.webhooks.routes import WebhookRoutes
from hub.wiring.command_name import command_name
from hub.wiring.node_parts import NodeParts
from hub.wiring.route_table import ERROR_FORMATS, build_openapi, compat_routes
from hub.wiring.upstreams import build_upstream_models


def public_application(
    settings: Settings,
    node: NodeParts,
    authenticator: Authenticator,
    origins: AllowedOrigins,
    *,
    faults_path: str | None = None,
) -> web.Application:
    """Build the application of the public listener. Raise OperatorError.

    faults_path: the socket of `hub dev` on which it takes faults for the demo page.
    """
    denylist = node.admin_commands.denylist
    user_authenticator = DenylistAuthenticator(authenticator, denylist)
    stream_authenticator = DenylistAuthenticator(
        TicketAuthenticator(authenticator, node.tickets), denylist
    )
    addresses = ClientAddresses(settings.public.trusted_proxies)
    limits = stream_limits(settings)
    streams = HttpStreams(Streams(node.connections, node.clock, limits, addresses))
    generations = node.generations
    requests = build_generation_requests(settings, generations)
    generation_streams = GenerationStreams(generations, streams, build_templates(settings).select)
    resources: list[Routes] = [
        ConnectRoutes(streams, stream_authenticator),
        WebSocketRoutes(
            streams, stream_authenticator, origins, generations, requests, metrics=node.metrics
        ),
        GenerationRoutes(generations, generation_streams, user_authenticator, requests),
        OwnGenerationRoutes(generations, generation_streams, user_authenticator),
        SteeringRoutes(generations, user_authenticator),
        InputRoutes(
            node.inputs, user_authenticator, max_body_bytes=settings.generations.max_part_bytes
        ),
        *compat_routes(
            CompatRequests(
                generations,
                streams,
                user_authenticator,
                requests,
                origins,
                inputs=node.inputs,
                metrics=node.metrics,
                max_hold_seconds=settings.stream.heartbeat_seconds,
            )
        ),
        TicketRoutes(user_authenticator, node.tickets),
        PushRoutes(
            user_authenticator,
            node.backend.push_subscriptions,
            public_key=node.push_public_key,
            allow_private=settings.push.allow_private,
        ),
        InboxRoutes(node.inboxes, user_authenticator),
        JsClientRoutes(),
    ]
    has_faults = faults_path is not None and settings.auth.disabled
    demo = _demo(settings, user_authenticator, node.publisher, has_faults=has_faults)
    if demo is not None:
        resources.append(demo)
        if has_faults and faults_path is not None:
            resources.append(DevFaultRoutes(user_authenticator, node.connections, faults_path))
    request_metrics = RequestMetrics(node.metrics, "public")
    return build_public(
        resources,
        origins,
        request_metrics,
        error_formats=ERROR_FORMATS,
        max_body_bytes=settings.generations.max_prompt_bytes,
    )


def internal_application(
    settings: Settings, node: NodeParts, api_keys: ApiKeys, metrics: MetricsRoutes
) -> web.Application:
    """Build the application of the internal listener."""
    streams = HttpStreams(
        Streams(node.connections, node.clock, stream_limits(settings), ClientAddresses([]))
    )
    publish_requests = build_publish_requests(settings, node, api_keys)
    return build_internal(
        [
            PublishRoutes(publish_requests),
            NodeProbeRoutes(node.backend.health, node.connections, node=settings.node.name),
            UsageRoutes(node.backend.usage, api_keys),
            UserRoutes(
                node.admin_commands,
                node.connection_query,
                node.backend.events,
                node.budget,
                api_keys,
            ),
            OperatorGenerationRoutes(node.generations, api_keys),
            UserInboxRoutes(node.inboxes, api_keys),
            UserDataRoutes(node.user_data, api_keys),
            ActiveGenerationRoutes(node.backend.queue, node.backend.generations, api_keys),
            *_producer_routes(settings, node, api_keys, streams),
            WebhookRoutes(
                node.webhooks.endpoints,
                node.backend.deliveries,
                node.webhooks.deliveries,
                api_keys,
            ),
            ConsoleRoutes(streams, api_keys, publish_requests),
            metrics,
        ],
        RequestMetrics(node.metrics, "internal"),
        build_openapi,
        max_body_bytes=settings.publish.max_body_bytes,
    )


def _producer_routes(
    settings: Settings, node: NodeParts, api_keys: ApiKeys, streams: HttpStreams
) -> list[Routes]:
    requests = build_producer_requests(settings, node, api_keys)
    limits = streamed_post_limits(settings)
    max_body_bytes = settings.publish.max_body_bytes
    return [
        ProducerRoutes(requests, node.clock, limits, max_body_bytes=max_body_bytes),
        JobRoutes(requests, JobRequests(node.claims, node.producers)),
        ProducerControlRoutes(requests, streams),
    ]


def build_producer_requests(
    settings: Settings, node: NodeParts, api_keys: ApiKeys
) -> ProducerRequests:
    """Build what the HTTP and gRPC listeners share for external producers."""
    generations = build_generation_requests(settings, node.generations)
    return ProducerRequests(node.producers, generations, api_keys)


def streamed_post_limits(settings: Settings) -> StreamedPostLimits:
    """Return the limits of one streamed post."""
    return StreamedPostLimits(settings.publish.max_body_bytes, settings.generations.flush_seconds)


def build_publish_requests(
    settings: Settings, node: NodeParts, api_keys: ApiKeys
) -> PublishRequests:
    """Build what the HTTP and gRPC listeners share for publishing."""
    return PublishRequests(node.publisher, api_keys, publish_limits(settings), node.rate_limits)


def publish_limits(settings: Settings) -> PublishLimits:
    """Return the limits of one publish."""
    return PublishLimits(
        max_body_bytes=settings.publish.max_body_bytes,
        max_recipients=settings.publish.max_recipients,
    )


def stream_limits(settings: Settings) -> StreamLimits:
    """Return the limits of one stream."""
    stream = settings.stream
    return StreamLimits(
        retry_ms=stream.retry_ms,
        heartbeat_seconds=stream.heartbeat_seconds,
        min_heartbeat_seconds=stream.min_heartbeat_seconds,
        max_age_seconds=stream.max_age_seconds,
        expiry_notice_seconds=stream.expiry_notice_seconds,
        max_per_address=stream.max_per_address,
        max_topics=stream.max_topics,
        outbox_max_events=stream.outbox_max_events,
        outbox_max_bytes=stream.outbox_max_bytes,
        write_buffer_bytes=stream.write_buffer_bytes,
    )


def build_generation_requests(settings: Settings, generations: Generations) -> GenerationRequests:
    """Build the part that turns a client's request into a queued generation."""
    choices = build_upstream_models(settings)
    return GenerationRequests(
        generations,
        choices,
        default_upstream=settings.default_upstream or next(iter(choices), None),
        max_prompt_bytes=settings.generations.max_prompt_bytes,
        push_after_seconds=settings.push.after_seconds if settings.push.is_set else None,
    )


def build_templates(settings: Settings) -> TemplateSelection:
    """Build the output templates. Raise OperatorError."""
    named = {
        name: OutputTemplate(**template.model_dump()) for name, template in settings.shapes.items()
    }
    known, default = {**BUILT_IN_TEMPLATES, **named}, settings.stream.shape
    if default is not None and default not in {HUB_EVENTS, *known}:
        raise OperatorError(f"stream.shape names {default!r}, but there is no such output template")
    return TemplateSelection(known, default)


def _demo(
    settings: Settings, authenticator: Authenticator, publisher: Publisher, *, has_faults: bool
) -> DemoRoutes | None:
    if not settings.public.demo_page:
        return None
    is_dev = settings.auth.disabled
    return DemoRoutes(
        authenticator,
        publisher if is_dev else None,
        max_body_bytes=settings.publish.max_body_bytes,
        has_faults=has_faults,
        has_push=settings.push.is_set,
        command=command_name() if is_dev else "hub",  # a path is nobody's business elsewhere
    )
