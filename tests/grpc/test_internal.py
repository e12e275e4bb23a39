"""hub.v1.HubInternal: publishing, and the separation of users and backends."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from hub.grpc import hub_pb2 as pb
from hub.grpc.hub_pb2_grpc import HubInternalStub, HubStub
from tests.grpc.kit import Kit, Reading, bearer, details_of, fails, token
from tests.http.kit import running_hub

KEY = bearer("shop-key")


async def test_publish(kit: Kit) -> None:
    """An event is published once to each kind of channel, with the same result as over HTTP."""
    call = Reading(
        kit.public.Connect(pb.ConnectRequest(topics=["t"]), metadata=token(topics=["t"]))
    )
    await call.next()
    data = '{ "n": 12345678901234567890, "s": "ü\\u2028" }'
    requests = [
        pb.PublishRequest(user="alice", event="order", data=data, id="k"),
        pb.PublishRequest(users=pb.Users(ids=["alice", "bob"]), data="1"),
        pb.PublishRequest(topic="t"),
        pb.PublishRequest(all=True, ephemeral=True, ttl_seconds=5),
    ]
    responses = [await kit.internal.Publish(each, metadata=KEY) for each in requests]
    seen = [await call.next() for _ in requests]
    assert [(e.event, e.channel) for e in seen] == [
        ("order", "user:alice"),
        ("notification", "user:alice"),
        ("notification", "topic:t"),
        ("notification", "all"),
    ]
    assert seen[0].data == '{"n":12345678901234567890,"s":"ü\\u2028"}'
    assert (seen[2].data, seen[3].id) == ("null", "")
    assert [p.channel for p in responses[1].published] == ["user:alice", "user:bob"]
    assert responses[3].published[0].cursor == ""
    again = await kit.internal.Publish(requests[0], metadata=KEY)
    assert again.published[0].duplicate
    assert again.published[0].cursor == responses[0].published[0].cursor


async def test_replicas_are_in_the_response(kit: Kit) -> None:
    """The response says how many replicas have the event, if publishes wait for them."""
    request = pb.PublishRequest(user="a", data="1")
    (published,) = (await kit.internal.Publish(request, metadata=KEY)).published
    assert not published.HasField("replicas")
    kit.hub.backend.events.replicas = 0
    (published,) = (await kit.internal.Publish(request, metadata=KEY)).published
    assert (published.HasField("replicas"), published.replicas) == (True, 0)


async def test_id_of_another_event(kit: Kit) -> None:
    """The same id with other data is ABORTED, and the field is named."""
    await kit.internal.Publish(pb.PublishRequest(user="a", data="1", id="k"), metadata=KEY)
    other = pb.PublishRequest(user="a", data="2", id="k")
    error = await fails(kit.internal.Publish(other, metadata=KEY))
    assert error.code() is StatusCode.ABORTED
    assert "another event in the channel user:a" in (error.details() or "")


@pytest.mark.parametrize(
    ("request_", "path", "sentence"),
    [
        (pb.PublishRequest(), "to", "exactly one of"),
        (pb.PublishRequest(user="a b"), "to.user", "user id"),
        (pb.PublishRequest(users=pb.Users()), "to.users", "between 1 and 3 users"),
        (pb.PublishRequest(user="a", data="{"), "data", "data: "),
        (pb.PublishRequest(user="a", data="1 2"), "data", "data: "),
        (pb.PublishRequest(user="a", event="hub.open"), "event", "are reserved"),
        (pb.PublishRequest(user="a", event="a\nb"), "event", "not contain CR, LF"),
        (pb.PublishRequest(user="a", ttl_seconds=0), "ttl_seconds", "above 0"),
        (pb.PublishRequest(user="a", data=json.dumps("x" * 40_000)), "data", "the limit is"),
    ],
)
async def test_bad_publish(kit: Kit, request_: Any, path: str, sentence: str) -> None:
    """An invalid request gets INVALID_ARGUMENT, one sentence, and the field."""
    error = await fails(kit.internal.Publish(request_, metadata=KEY))
    assert error.code() is StatusCode.INVALID_ARGUMENT
    assert sentence in (error.details() or "")
    assert path.encode() in details_of(error).details[0].value


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ([], StatusCode.UNAUTHENTICATED),
        (bearer("wrong"), StatusCode.UNAUTHENTICATED),
        (token(), StatusCode.UNAUTHENTICATED),
        (bearer("read-key"), StatusCode.PERMISSION_DENIED),
    ],
)
async def test_only_a_key_with_the_scope_publishes(kit: Kit, metadata: Any, code: Any) -> None:
    """A user's token is not accepted as an API key."""
    request = pb.PublishRequest(user="alice")
    assert (await fails(kit.internal.Publish(request, metadata=metadata))).code() is code


async def test_services_are_on_their_own_listener(kit: Kit) -> None:
    """The public listener does not publish, and the internal one has no streams."""
    public, internal = HubInternalStub(kit.channel), HubStub(kit.internal_channel)
    for call in (
        public.Publish(pb.PublishRequest(user="alice"), metadata=KEY),
        internal.Connect(pb.ConnectRequest(), metadata=token()),
    ):
        assert (await fails(call)).code() is StatusCode.UNIMPLEMENTED


async def test_rate_of_a_key() -> None:
    """A key over its rate limit gets RESOURCE_EXHAUSTED and when to try again."""
    async with (
        running_hub(rate=1) as hub,
        hub.serving_grpc(),
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.grpc_internal_port}") as channel,
    ):
        stub, request = HubInternalStub(channel), pb.PublishRequest(user="alice")
        await stub.Publish(request)
        error = await fails(stub.Publish(request))
        assert error.code() is StatusCode.RESOURCE_EXHAUSTED
        assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
        route = "hub.v1.HubInternal/Publish"
        assert hub.node.metrics.responses["internal", route, "200"] == 1
        assert hub.node.metrics.responses["internal", route, "429"] == 1
        assert sum(hub.node.metrics.refused.values()) == 1


async def test_too_large(kit: Kit) -> None:
    """gRPC itself rejects a message above the size limit."""
    request = pb.PublishRequest(user="alice", data=json.dumps("x" * 100_000))
    error = await fails(kit.internal.Publish(request, metadata=KEY))
    assert error.code() is StatusCode.RESOURCE_EXHAUSTED
