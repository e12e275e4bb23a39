"""The parts of a node behind its listeners, and the tasks that keep them running."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from hub.api.publish_requests import PublishRateLimits
from hub.core.channel import Channel, user_channel
from hub.core.deliveries import Delivery
from hub.engine.attempts.attempt import GenerationResult
from hub.engine.external.external_producers import ExternalProducers
from hub.engine.external.job_claims import ClaimLimits, Claims
from hub.engine.generations.generations import Generations
from hub.engine.generations.inputs import Inputs
from hub.engine.generations.reconciler import Reconciler
from hub.engine.metrics.broker_watch import BrokerWatch
from hub.engine.metrics.live_metrics import LIVE_METRICS_CHANNEL, LiveMetrics
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.publisher import Publisher
from hub.engine.storage_budget import StorageBudget
from hub.engine.streams.admin_commands import AdminCommands
from hub.engine.streams.connection_query import ConnectionQuery
from hub.engine.streams.connections import ConnectionLimits, Connections
from hub.engine.streams.gap_check import GapCheck
from hub.engine.streams.heartbeat import HeartbeatWheel
from hub.engine.streams.latency_probe import LatencyProbe
from hub.engine.streams.taken_query import TakenReplies
from hub.engine.streams.topic_presence import TopicPresence
from hub.engine.streams.user_presence import USER_CONNECTED, USER_DISCONNECTED, UserPresence
from hub.engine.tasks import Supervisor
from hub.engine.tickets import Tickets
from hub.engine.usage import UsageRecorder
from hub.engine.user_data import UserDataRegistry
from hub.inbox.expiry import ItemExpiry
from hub.inbox.inboxes import Inboxes
from hub.ports.backend import Backend
from hub.ports.clock import Clock
from hub.settings import Settings
from hub.wiring.backend import (
    build_jobs,
    build_parts_limits,
    build_publisher,
    build_reconciler,
    claim_retries,
    known_models,
    queue_by_upstream,
    steerable_upstreams,
)
from hub.wiring.push import read_push_public_key
from hub.wiring.tracing import Tracing
from hub.wiring.user_data import build_user_data
from hub.wiring.webhooks import Webhooks, build_webhooks

NODE_STATE_TASK = "node state"
"""The task that tells other processes that this node lives. It ends first."""


class NodeParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the listeners of a node are built from."""

    backend: Backend
    clock: Clock
    heartbeat_wheel: HeartbeatWheel
    connections: Connections
    topic_presence: TopicPresence
    user_presence: UserPresence
    publisher: Publisher
    rate_limits: PublishRateLimits
    generations: Generations
    inputs: Inputs
    inboxes: Inboxes
    item_expiry: ItemExpiry
    producers: ExternalProducers
    claims: Claims
    reconciler: Reconciler
    admin_commands: AdminCommands
    connection_query: ConnectionQuery
    taken_replies: TakenReplies
    live_metrics: LiveMetrics
    budget: StorageBudget
    tickets: Tickets
    push_public_key: str | None
    user_data: UserDataRegistry
    metrics: NodeMetrics
    webhooks: Webhooks


def build_node_parts(
    settings: Settings, backend: Backend, clock: Clock, tracing: Tracing
) -> NodeParts:
    """Build the parts of a node. Nothing runs yet; see start_node_tasks."""

    def subscriber_count(channel: Channel) -> int:
        return connections.subscriber_count(channel)

    webhooks = build_webhooks(settings, backend, clock)
    backend = webhooks.backend
    node, stream = settings.node.name, settings.stream
    metrics = NodeMetrics(backend.statistics, known_models(settings))
    usage = UsageRecorder(backend.usage)

    async def on_result(result: GenerationResult) -> None:
        metrics.record(result)
        await usage.record(result)

    def read_deliveries(user: str) -> Sequence[Delivery]:
        return webhooks.deliveries.build("inbox.read", user_channel(user), {"items": []})

    heartbeat_wheel = HeartbeatWheel(clock, stream.heartbeat_seconds, metrics)
    topic_presence = TopicPresence(
        backend.topic_presence, backend.events, clock, settings.presence.topics, node=node
    )
    user_presence = UserPresence(
        backend.user_presence,
        webhooks.deliveries,
        clock,
        partial(webhooks.endpoints.has_event, USER_CONNECTED, USER_DISCONNECTED),
    )
    connections = Connections(
        backend.events,
        tracing.subscriptions(backend.subscriptions, subscriber_count),
        heartbeat_wheel,
        clock,
        node=node,
        heartbeat_seconds=stream.heartbeat_seconds,
        limits=ConnectionLimits(
            max_connections=stream.max_connections,
            max_per_user=stream.max_per_user,
            joins_per_second=stream.max_joins_per_second,
            max_new_topics_per_minute=stream.max_new_topics_per_minute,
        ),
        topic_presence=topic_presence,
        user_presence=user_presence,
        metrics=metrics,
    )
    budget = StorageBudget(
        backend.budgets, max_bytes=settings.generations.max_stored_bytes_per_user
    )
    jobs = build_jobs(settings, backend, on_result)
    store = tracing.generations(backend.generations)
    producers = ExternalProducers(
        backend.events, store, jobs, clock, limits=build_parts_limits(settings), budget=budget
    )
    generations = Generations(
        backend.events,
        store,
        backend.queue,
        budget=budget,
        jobs=jobs,
        steerable=steerable_upstreams(settings),
    )
    queues = queue_by_upstream(settings)
    item_expiry = ItemExpiry(backend.inboxes, clock)
    retries = claim_retries(settings)
    return NodeParts(
        backend=backend,
        clock=clock,
        heartbeat_wheel=heartbeat_wheel,
        connections=connections,
        topic_presence=topic_presence,
        user_presence=user_presence,
        publisher=build_publisher(settings, tracing.events(backend.events), metrics, item_expiry),
        rate_limits=PublishRateLimits(settings.publish.max_per_second),
        inboxes=Inboxes(
            backend.inboxes,
            max_topics=settings.inbox.max_topics,
            changes=metrics.inbox_changes,
            read_deliveries=read_deliveries,
        ),
        item_expiry=item_expiry,
        generations=generations,
        inputs=Inputs(backend.events, store, backend.queue, jobs),
        producers=producers,
        claims=Claims(
            backend.claims,
            store,
            jobs,
            producers,
            clock,
            upstreams={name: queues[name] for name in retries},
            retries=retries,
            limits=ClaimLimits(
                max_waiting=settings.producers.max_waiting_claims,
                max_waiting_per_key=settings.producers.max_waiting_claims_per_key,
                check_seconds=settings.worker.lease_seconds,
            ),
        ),
        reconciler=build_reconciler(settings, backend, clock, jobs),
        admin_commands=AdminCommands(backend.commands, connections),
        connection_query=ConnectionQuery(backend.commands, connections, clock, node=node),
        taken_replies=TakenReplies(backend.commands, connections, node=node),
        live_metrics=LiveMetrics(
            backend.commands,
            backend.events,
            clock,
            name=node,
            collect=metrics.families,
            has_viewers=lambda: connections.has_subscribers(LIVE_METRICS_CHANNEL),
        ),
        push_public_key=read_push_public_key(settings.push),
        budget=budget,
        tickets=Tickets(backend.tickets, backend.events, budget=budget),
        user_data=build_user_data(settings, backend, generations, jobs, clock),
        metrics=metrics,
        webhooks=webhooks,
    )


def start_node_tasks(node: NodeParts, tasks: Supervisor) -> None:
    """Start everything that runs in the background of a node."""
    events, subscriptions = node.backend.events, node.backend.subscriptions
    probe = LatencyProbe(events, subscriptions, node.connections, node.clock, node.metrics)
    backend = node.backend
    broker_watch = BrokerWatch(
        backend.health, backend.queue, backend.generations, node.clock, node.metrics
    )
    gap_check = GapCheck(events, subscriptions, node.connections, node.clock, node.metrics)
    tasks.start("subscriptions", subscriptions.run)
    tasks.start("heartbeats", node.heartbeat_wheel.run)
    tasks.start("connection expiry", node.connections.expiry_timer.run)
    tasks.start("commands", node.backend.commands.run)
    tasks.start("denylist", node.admin_commands.run)
    tasks.start(NODE_STATE_TASK, node.connection_query.keep_node_state)
    tasks.start("connection query", node.connection_query.answer_requests)
    tasks.start("taken replies", node.taken_replies.run)
    tasks.start("reconciler", node.reconciler.run)
    tasks.start("claimed jobs", node.claims.run_checks)
    tasks.start("topic presence", node.topic_presence.run)
    tasks.start("user presence", node.user_presence.run)
    tasks.start("expiry of items", node.item_expiry.run)
    tasks.start("latency probe", probe.run)
    tasks.start("gap check", gap_check.run)
    tasks.start("broker watch", broker_watch.run)
    tasks.start("webhooks", node.webhooks.endpoints.run)
    tasks.start("live metrics", node.live_metrics.run)
    tasks.start("loop lag", partial(node.metrics.measure_loop_lag, node.clock))
