"""Test tracing with a node, a worker, Valkey, an upstream and a collector."""

from __future__ import annotations

import asyncio
import signal

import jwt

from tests.e2e.cluster import Cluster, create_cluster
from tests.tracing.collector import collecting, values

SECRET = "e2e-" * 16
KEY = "k3y-of-a-backend"
USER = "alice-who-is-private"
TOPIC = "topic-that-is-private"
PROMPT = "prompt-that-is-private"
PAYLOAD = "payload-that-is-private"
PUBLISH_TRACE, GENERATE_TRACE = "a" * 32, "b" * 32
CALLER = "c" * 16


async def _use_hub(cluster: Cluster, token: str) -> None:
    """Open a stream, publish an event to it, and generate an answer."""
    bearer = {"Authorization": f"Bearer {token}"}
    streams = f"{cluster.url}/sse/connect/{USER}?topics={TOPIC}"
    async with cluster.session.get(streams, headers=bearer) as stream:
        await stream.content.readuntil(b"hub.open")
        body = {"to": {"topic": TOPIC}, "data": PAYLOAD}
        headers = {
            "Authorization": f"Bearer {KEY}",
            "traceparent": f"00-{PUBLISH_TRACE}-{CALLER}-01",
        }
        publish = f"{cluster.internal_url}/publish"
        async with cluster.session.post(publish, json=body, headers=headers) as answer:
            assert answer.status == 200
        await stream.content.readuntil(PAYLOAD.encode())
        headers = {**bearer, "traceparent": f"00-{GENERATE_TRACE}-{CALLER}-01"}
        generations = f"{cluster.url}/generations"
        async with cluster.session.post(
            generations, json={"prompt": PROMPT}, headers=headers
        ) as answer:
            assert answer.status == 202
        await stream.content.readuntil(b"generation.done")


async def test_trace_from_the_caller_to_the_delivery_and_to_the_llm() -> None:
    """The trace of the caller continues to the delivery of an event and to the upstream request.

    Spans contain no private data, and SIGTERM exports the remaining spans.
    """
    async with create_cluster() as cluster, collecting() as collector:
        cluster.set("AUTH__DISABLED", "false")
        cluster.set("AUTH__HMAC_SECRET", SECRET)
        cluster.set("AUTH__API_KEYS", [{"key": KEY, "scopes": ["publish"]}])
        cluster.set("TRACING__ENDPOINT", collector.url)
        cluster.set(
            "TRACING__SAMPLE_RATIO", "0"
        )  # only requests with a sampled traceparent are traced
        cluster.set("NODE__DRAIN_SECONDS", "0")
        await cluster.add_upstream("sim", api_key="upstream-s-secret-key")
        await cluster.start()
        worker = await cluster.start_worker()
        claims = {"sub": USER, "exp": 2**33, "topics": [TOPIC]}
        token = jwt.encode(claims, SECRET)
        await asyncio.wait_for(_use_hub(cluster, token), 60)
        for process in (cluster.node, worker):
            process.send_signal(signal.SIGTERM)
        ended = await asyncio.wait_for(asyncio.gather(cluster.node.wait(), worker.wait()), 60)
        assert [*ended] == [0, 0]

    request = collector.find("hub-node", "POST /publish")
    publish = collector.find("hub-node", "publish topic")
    deliver = collector.find("hub-node", "deliver")
    assert request.parent_span_id.hex() == CALLER
    assert publish.parent_span_id == request.span_id
    assert deliver.parent_span_id == publish.span_id
    assert [each.span_id for each in deliver.links] == [publish.span_id]
    assert {s.trace_id.hex() for s in (request, publish, deliver)} == {PUBLISH_TRACE}
    assert values(deliver.attributes)["hub.connections"] == 1

    generate = collector.find("hub-node", "POST /generations")
    chat = collector.find("hub-worker", "chat simulated-1")
    post = collector.find("hub-worker", "POST")
    (upstream_request,) = [each for each in cluster.upstream_requests if each.method == "POST"]
    assert generate.parent_span_id.hex() == CALLER
    assert chat.parent_span_id == generate.span_id
    assert post.parent_span_id == chat.span_id
    sent = f"00-{GENERATE_TRACE}-{post.span_id.hex()}-01"
    assert upstream_request.headers["traceparent"] == sent
    attributes = values(chat.attributes)
    assert attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert attributes["gen_ai.usage.output_tokens"] > 0

    assert len(collector.spans) == 6  # streams, probes and deltas have no spans
    private = [USER, TOPIC, PROMPT, PAYLOAD, KEY, token, SECRET, "upstream-s-secret-key"]
    assert [text for text in private if text.encode() in collector.received] == []
