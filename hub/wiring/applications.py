"""The two applications of a node, on its engine."""

from __future__ import annotations

import aiohttp
from aiohttp import web

from hub.engine.generations import Generations
from hub.engine.publisher import Publisher
from hub.errors import OperatorError
from hub.settings import Settings
from hub.surfaces.shapes import SHAPES, Shape
from hub.web.addresses import Addresses
from hub.web.auth import Door, GuardedDoor
from hub.web.client_module import ClientModuleRoutes
from hub.web.connect import ConnectRoutes
from hub.web.console import ConsoleRoutes
from hub.web.demo import DemoRoutes
from hub.web.foreign import Foreigners
from hub.web.generations import GenerationRoutes
from hub.web.health import HealthRoutes
from hub.web.internal import build_internal
from hub.web.metrics import MetricsRoutes
from hub.web.origins import Origins
from hub.web.page_files import PageFiles
from hub.web.public import Routes, build_public
from hub.web.publish import PublishLimits, PublishRoutes
from hub.web.publish_batch import PublishBatchRoutes
from hub.web.questions import Questions, UpstreamChoice
from hub.web.running import RunningRoutes
from hub.web.shapes import OWN_EVENTS, Shapes
from hub.web.streaming import StreamLimits, Streams
from hub.web.tally import Tally
from hub.web.tickets import TicketDoor, TicketRoutes
from hub.web.usage import UsageRoutes
from hub.web.users import UserRoutes
from hub.web.v1_agui import AgUiRoutes
from hub.web.v1_chat import ChatRoutes
from hub.web.v1_responses import ResponseRoutes
from hub.web.v1_ui import UiRoutes
from hub.web.websocket import WebSocketRoutes
from hub.wiring.doors import door_of, key_ring_of
from hub.wiring.engine import Engine


def public_application(
    settings: Settings, engine: Engine, session: aiohttp.ClientSession
) -> web.Application:
    """What browsers and apps may reach. Raises OperatorError."""
    origins = Origins(settings.public.allowed_origins)
    entrance = door_of(settings, origins, session, engine.clock)
    door = GuardedDoor(entrance, engine.control.denials)
    stream_door = GuardedDoor(TicketDoor(entrance, engine.tickets), engine.control.denials)
    streams = Streams(
        engine.fanout,
        engine.clock,
        stream_limits(settings),
        Addresses(settings.public.trusted_proxies),
    )
    generations = engine.generations
    questions = questions_of(settings, generations)
    resources: list[Routes] = [
        ConnectRoutes(streams, stream_door),
        WebSocketRoutes(
            streams, stream_door, origins, generations, questions, counts=engine.counts
        ),
        GenerationRoutes(generations, streams, door, questions, shapes_of(settings)),
        *foreign_routes(Foreigners(generations, streams, door, questions, origins)),
        TicketRoutes(door, engine.tickets),
        ClientModuleRoutes(),
    ]
    demo = _demo(settings, door, engine.publisher)
    if demo is not None:
        resources.append(demo)
    tally = Tally(engine.counts, "public")
    return build_public(
        resources, origins, tally, max_body_bytes=settings.generations.max_prompt_bytes
    )


def internal_application(
    settings: Settings, engine: Engine, metrics: MetricsRoutes
) -> web.Application:
    """What backends, operators and probes may reach."""
    keys = key_ring_of(settings)
    inside = Streams(engine.fanout, engine.clock, stream_limits(settings), Addresses([]))
    limits = publish_limits(settings)
    return build_internal(
        [
            PublishRoutes(engine.publisher, keys, limits, engine.rates),
            PublishBatchRoutes(engine.publisher, keys, limits, engine.rates),
            HealthRoutes(engine.broker, engine.fanout, node=settings.node.name),
            UsageRoutes(engine.usage, keys),
            UserRoutes(engine.control, engine.presence, engine.broker, keys),
            RunningRoutes(engine.queue, engine.store, keys),
            ConsoleRoutes(inside, keys, PageFiles("console")),
            metrics,
        ],
        Tally(engine.counts, "internal"),
        max_body_bytes=settings.publish.max_body_bytes,
    )


def publish_limits(settings: Settings) -> PublishLimits:
    """Of one publish."""
    return PublishLimits(
        max_body_bytes=settings.publish.max_body_bytes,
        max_recipients=settings.publish.max_recipients,
    )


def foreign_routes(foreigners: Foreigners) -> list[Routes]:
    """Those of clients that know nothing of the hub."""
    return [
        ChatRoutes(foreigners),
        ResponseRoutes(foreigners),
        UiRoutes(foreigners),
        AgUiRoutes(foreigners),
    ]


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


def questions_of(settings: Settings, generations: Generations) -> Questions:
    """From what a client sends to a question that waits for its turn."""
    choices = {
        name: UpstreamChoice(default_model=upstream.default_model, models=upstream.models)
        for name, upstream in settings.upstreams.items()
    }
    return Questions(
        generations,
        choices,
        default_upstream=settings.default_upstream or next(iter(choices), None),
        max_prompt_bytes=settings.generations.max_prompt_bytes,
    )


def shapes_of(settings: Settings) -> Shapes:
    """How answers may look. Raises OperatorError."""
    named = {name: Shape(**shape.model_dump()) for name, shape in settings.shapes.items()}
    known, default = {**SHAPES, **named}, settings.stream.shape
    if default is not None and default not in {OWN_EVENTS, *known}:
        raise OperatorError(f"stream.shape names {default!r}, which is not among the shapes")
    return Shapes(known, default)


def _demo(settings: Settings, door: Door, publisher: Publisher) -> DemoRoutes | None:
    if not settings.public.demo_page:
        return None
    return DemoRoutes(
        door,
        publisher if settings.auth.open else None,
        max_body_bytes=settings.publish.max_body_bytes,
    )
