from __future__ import annotations

from collections.abc import Sequence

import pytest
from opentelemetry.trace import SpanKind, StatusCode, use_span

from hub.core.channel import ALL, Channel, topic_channel, user_channel
from hub.core.event import Event
from hub.errors import BrokerUnavailable
from hub.ports.events import Publication
from hub.testing.backend import MemoryBackend
from hub.tracing.events import TracedEventWriter, TracedSubscriptions
from tests.tracing.conftest import Spans

ALICE, BOB = user_channel("alice"), user_channel("bob")


class Node:
    """A traced backend, the events that it received, and each channel's number of connections."""

    def __init__(self, spans: Spans, *, sampled: bool = True) -> None:
        self.backend = MemoryBackend()
        self.subscriber_counts: dict[Channel, int] = {}
        tracer = spans.tracer if sampled else spans.unsampled
        self.events = TracedEventWriter(self.backend.events, tracer)
        self.subscriptions = TracedSubscriptions(
            self.backend.subscriptions, tracer, lambda c: self.subscriber_counts.get(c, 0)
        )
        self.received: list[Event] = []
        self.subscriptions.listen(self._on_events, lambda: None)

    def _on_events(self, events: Sequence[Event]) -> None:
        self.received += events

    async def publish(self, *channels: Channel, trace: str = "") -> None:
        await self.subscriptions.subscribe(channels)
        publications = [Publication(channel=c, name="n", data=b"1", trace=trace) for c in channels]
        await self.events.publish(publications)


async def test_delivery_is_a_child_of_its_publish_and_linked_to_it(spans: Spans) -> None:
    """The CONSUMER span is in the trace of the PRODUCER span and has the number of connections."""
    node = Node(spans)
    node.subscriber_counts = {ALICE: 3}
    await node.publish(ALICE)
    publish, attributes = spans.only("publish user")
    assert publish.kind is SpanKind.PRODUCER
    assert attributes == {
        "messaging.system": "redis",
        "messaging.operation.type": "send",
        "messaging.operation.name": "publish",
        "messaging.destination.template": "user:{id}",
    }
    deliver, attributes = spans.only("deliver")
    assert deliver.kind is SpanKind.CONSUMER
    assert deliver.parent is not None
    assert deliver.parent.is_remote
    own = publish.get_span_context()
    assert own is not None
    assert deliver.parent.span_id == own.span_id
    assert deliver.parent.trace_id == own.trace_id
    assert [each.context.span_id for each in deliver.links] == [own.span_id]
    assert attributes["hub.connections"] == 3


@pytest.mark.parametrize(
    ("channels", "name"),
    [
        ([topic_channel("secret")], "publish topic"),
        ([ALL], "publish all"),
        ([ALICE, BOB], "publish user"),
        ([ALICE, ALL], "publish"),
    ],
)
async def test_span_name_has_only_the_kind_of_channel(
    spans: Spans, channels: list[Channel], name: str
) -> None:
    """No attribute names a user or a topic."""
    await Node(spans).publish(*channels)
    _, attributes = spans.only(name)
    assert attributes.get("messaging.batch.message_count", 1) == len(channels)
    assert not any(word in str(attributes) for word in ("alice", "bob", "secret"))


async def test_batch_is_one_span_on_each_side(spans: Spans) -> None:
    """A thousand events of one call make one span on each side."""
    node = Node(spans)
    channels = [user_channel(f"u{n}") for n in range(1000)]
    node.subscriber_counts = dict.fromkeys(channels, 1)
    await node.publish(*channels)
    _, attributes = spans.only("deliver")
    assert attributes["messaging.batch.message_count"] == 1000
    assert attributes["hub.connections"] == 1000
    assert len(spans.ended) == 2
    assert len({event.trace for event in node.received}) == 1


async def test_unsampled_event_has_no_trace(spans: Spans) -> None:
    """There is no span, and the notification has no trace."""
    node = Node(spans, sampled=False)
    node.subscriber_counts = {ALICE: 1}
    await node.publish(ALICE)
    assert [event.trace for event in node.received] == [""]
    assert spans.ended == []


async def test_publish_of_an_unsampled_request(spans: Spans) -> None:
    """The decision of the request counts, whatever the ratio is."""
    node = Node(spans)
    with use_span(spans.unsampled.start_span("request")):
        await node.publish(ALICE)
    assert [event.trace for event in node.received] == [""]
    assert spans.ended == []


async def test_node_without_subscribers_makes_no_span(spans: Spans) -> None:
    """A node that delivers nothing makes no CONSUMER span."""
    await Node(spans).publish(ALICE)
    assert spans.names == ["publish user"]


@pytest.mark.parametrize("trace", ["x" * 48, "ab", "0" * 48, "ab" * 1000])
async def test_malformed_trace_loses_no_event(spans: Spans, trace: str) -> None:
    """The event is delivered, and no span is made."""
    node = Node(spans, sampled=False)
    node.subscriber_counts = {ALICE: 1}
    await node.publish(ALICE, trace=trace)
    assert [event.data for event in node.received] == [b"1"]
    assert spans.ended == []


async def test_unavailable_broker_fails_the_span(spans: Spans) -> None:
    """The span has the type of the error, but not its text."""
    node = Node(spans)
    node.backend.is_unavailable = True
    publications = [Publication(channel=ALICE, name="n", data=b"1")]
    with pytest.raises(BrokerUnavailable):
        await node.events.publish(publications)
    (result,) = await node.events.try_publish(publications)
    assert isinstance(result, BrokerUnavailable)
    assert len(spans.ended) == 2
    for span in spans.ended:
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert (span.attributes or {})["error.type"] == "BrokerUnavailable"
        assert span.events == ()
