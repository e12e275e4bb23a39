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
        self.followers: dict[Channel, int] = {}
        tracer = spans.tracer if sampled else spans.unsampled
        self.events = TracedEventWriter(self.backend.events, tracer)
        self.subscriptions = TracedSubscriptions(
            self.backend.subscriptions, tracer, lambda c: self.followers.get(c, 0)
        )
        self.heard: list[Event] = []
        self.subscriptions.listen(self._hear, lambda: None)

    def _hear(self, events: Sequence[Event]) -> None:
        self.heard += events

    async def publish(self, *channels: Channel, trace: str = "") -> None:
        await self.subscriptions.subscribe(channels)
        publications = [Publication(channel=c, name="n", data=b"1", trace=trace) for c in channels]
        await self.events.publish(publications)


async def test_delivery_is_a_child_of_its_publish_and_linked_to_it(spans: Spans) -> None:
    """A PRODUCER span, and a CONSUMER span in the same trace that says how many were reached."""
    node = Node(spans)
    node.followers = {ALICE: 3}
    await node.publish(ALICE)
    publish, said = spans.only("publish user")
    assert publish.kind is SpanKind.PRODUCER
    assert said == {
        "messaging.system": "redis",
        "messaging.operation.type": "send",
        "messaging.operation.name": "publish",
        "messaging.destination.template": "user:{id}",
    }
    deliver, said = spans.only("deliver")
    assert deliver.kind is SpanKind.CONSUMER
    assert deliver.parent is not None
    assert deliver.parent.is_remote
    own = publish.get_span_context()
    assert own is not None
    assert deliver.parent.span_id == own.span_id
    assert deliver.parent.trace_id == own.trace_id
    assert [link.context.span_id for link in deliver.links] == [own.span_id]
    assert said["hub.connections"] == 3


@pytest.mark.parametrize(
    ("channels", "name"),
    [
        ([topic_channel("secret")], "publish topic"),
        ([ALL], "publish all"),
        ([ALICE, BOB], "publish user"),
        ([ALICE, ALL], "publish"),
    ],
)
async def test_name_tells_the_kind_of_channel_and_nothing_else(
    spans: Spans, channels: list[Channel], name: str
) -> None:
    """No user and no topic is named."""
    await Node(spans).publish(*channels)
    _, said = spans.only(name)
    assert said.get("messaging.batch.message_count", 1) == len(channels)
    assert not any(word in str(said) for word in ("alice", "bob", "secret"))


async def test_batch_is_one_span_on_each_side(spans: Spans) -> None:
    """A thousand events of one call do not make a thousand spans."""
    node = Node(spans)
    channels = [user_channel(f"u{n}") for n in range(1000)]
    node.followers = dict.fromkeys(channels, 1)
    await node.publish(*channels)
    _, said = spans.only("deliver")
    assert said["messaging.batch.message_count"] == 1000
    assert said["hub.connections"] == 1000
    assert len(spans.ended) == 2
    assert len({event.trace for event in node.heard}) == 1


async def test_what_is_not_sampled_carries_nothing(spans: Spans) -> None:
    """No span, and not a byte more in the announcement."""
    node = Node(spans, sampled=False)
    node.followers = {ALICE: 1}
    await node.publish(ALICE)
    assert [event.trace for event in node.heard] == [""]
    assert spans.ended == []


async def test_publish_of_a_request_that_is_not_sampled(spans: Spans) -> None:
    """The request has decided, whatever the ratio is."""
    node = Node(spans)
    with use_span(spans.unsampled.start_span("request")):
        await node.publish(ALICE)
    assert [event.trace for event in node.heard] == [""]
    assert spans.ended == []


async def test_node_where_nobody_follows_is_silent(spans: Spans) -> None:
    """It delivers nothing, so it says nothing."""
    await Node(spans).publish(ALICE)
    assert spans.names == ["publish user"]


@pytest.mark.parametrize("trace", ["x" * 48, "ab", "0" * 48, "ab" * 1000])
async def test_malformed_trace_loses_no_event(spans: Spans, trace: str) -> None:
    """Whoever announced it: the event is delivered, and no span is made of it."""
    node = Node(spans, sampled=False)
    node.followers = {ALICE: 1}
    await node.publish(ALICE, trace=trace)
    assert [event.data for event in node.heard] == [b"1"]
    assert spans.ended == []


async def test_absent_broker_fails_the_span(spans: Spans) -> None:
    """By its kind, without the error's text, whichever way it was called."""
    node = Node(spans)
    node.backend.is_unavailable = True
    publications = [Publication(channel=ALICE, name="n", data=b"1")]
    with pytest.raises(BrokerUnavailable):
        await node.events.publish(publications)
    (answer,) = await node.events.try_publish(publications)
    assert isinstance(answer, BrokerUnavailable)
    assert len(spans.ended) == 2
    for span in spans.ended:
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert (span.attributes or {})["error.type"] == "BrokerUnavailable"
        assert span.events == ()
