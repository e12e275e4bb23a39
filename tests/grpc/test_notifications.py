"""Items of inboxes and push notifications over gRPC: the fields inbox, push and notify."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode

from hub.core.push_job import decode_job
from hub.core.push_message import PushMessage
from hub.grpc import hub_pb2 as pb
from hub.ports.generations import GenerationFilter
from hub.ports.inbox import ItemFilter
from hub.push.vapid import generate_vapid_keys
from hub.settings import Push
from tests.docs.snippets import DOCS, find_blocks, run_python
from tests.grpc.kit import Kit, bearer, details_of, fails, grpc_kit, token

PUSH = Push.model_validate(
    {
        "private_key": generate_vapid_keys().private_key,
        "subject": "mailto:a@b.example",
        "after_seconds": 0.0,
    }
)

UNKNOWN: Any = 9  # a value of a later version of the .proto


@pytest.fixture
async def pushing() -> AsyncIterator[Kit]:
    """A hub that sends push notifications at once."""
    async with grpc_kit(tables={"push": PUSH}) as kit:
        yield kit


async def publish(kit: Kit, **fields: Any) -> pb.Published:
    request = pb.PublishRequest(user="alice", **fields)
    response = await kit.internal.Publish(request, metadata=bearer("shop-key"))
    published: list[pb.Published] = list(response.published)
    return published[0]


async def test_publish_keeps_an_item(kit: Kit) -> None:
    """`inbox` keeps the event with its options, and the response has the id of the item."""
    assert not (await publish(kit)).HasField("item")
    plain = await publish(kit, inbox=pb.InboxOptions())
    options = pb.InboxOptions(category="exports", key="e7", expires_seconds=60, required=True)
    await publish(kit, data="1", inbox=options)
    keyed = await publish(kit, data="2", inbox=options)
    page = await kit.hub.backend.inboxes.read("alice", ItemFilter(limit=10))
    kept = [(each.id, each.category, each.key, bytes(each.data)) for each in page.items]
    assert kept == [(keyed.item, "exports", "e7", b"2"), (plain.item, None, None, b"null")]


async def test_example_of_the_page(pushing: Kit) -> None:
    """The example of docs/reference/grpc.md keeps an event and pushes it."""
    (code,) = (
        block.code
        for block in find_blocks(DOCS / "reference" / "grpc.md")
        if "InboxOptions" in block.code
    )
    names: dict[str, Any] = {}
    await run_python(code, names)
    address = f"127.0.0.1:{pushing.hub.grpc_internal_port}"
    item = await names["announce"](address, "shop-key", "alice")
    page = await pushing.hub.backend.inboxes.read("alice", ItemFilter(limit=10))
    assert [(each.id, each.key) for each in page.items] == [(item, "export-7")]
    (taken,) = await pushing.hub.backend.deliveries.take("push", 10, lease_seconds=60)
    assert decode_job(taken.body).message.tag == "export-7"


async def test_publish_pushes(pushing: Kit) -> None:
    """`push` has each field of a notification; fields without a value have their defaults."""
    message = PushMessage(
        title="T", body="B", url="/u", tag="t", icon="/i", urgency="very-low", ttl_seconds=0.0
    )
    await publish(
        pushing,
        push=pb.PushMessage(
            title="T",
            body="B",
            url="/u",
            tag="t",
            icon="/i",
            urgency=pb.URGENCY_VERY_LOW,
            ttl_seconds=0,
        ),
    )
    await publish(pushing, push=pb.PushMessage(title="T"))
    taken = await pushing.hub.backend.deliveries.take("push", 10, lease_seconds=60)
    assert [decode_job(each.body).message for each in taken] == [message, PushMessage(title="T")]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"inbox": pb.InboxOptions(expires_seconds=-1)}, "inbox.expires_seconds"),
        ({"inbox": pb.InboxOptions(category="x" * 200)}, "inbox.category"),
        ({"push": pb.PushMessage()}, "push.title"),
        ({"push": pb.PushMessage(title="T", url="javascript:x")}, "push.url"),
        ({"push": pb.PushMessage(title="T", urgency=UNKNOWN)}, "push.urgency"),
    ],
)
async def test_bad_fields(pushing: Kit, fields: dict[str, Any], path: str) -> None:
    """A wrong field gets INVALID_ARGUMENT and is named."""
    error = await fails(
        pushing.internal.Publish(
            pb.PublishRequest(user="alice", **fields), metadata=bearer("shop-key")
        )
    )
    assert error.code() is StatusCode.INVALID_ARGUMENT
    assert path.encode() in details_of(error).details[0].value


async def test_notify(pushing: Kit) -> None:
    """An answer with `notify` is stored with the time of its notification."""
    call = pushing.public.Generate(
        pb.GenerateRequest(prompt="x", id="k", notify=True), metadata=token()
    )
    first = (await call.read()).events
    assert first
    external = await pushing.internal.StartExternal(
        pb.StartExternalRequest(user="alice", notify=True), metadata=bearer("produce-key")
    )
    generations = pushing.hub.backend.generations
    page = await generations.list_of_user("alice", GenerationFilter(limit=10))
    assert external.generation in [each.id for each in page]
    records = [await generations.find(each.id) for each in page]
    assert [each.request.notify_seconds for each in records if each] == [0.0, 0.0]
    call.cancel()


async def test_notify_needs_keys_and_a_user(kit: Kit, pushing: Kit) -> None:
    """Without push keys, and where no user asks, `notify` is INVALID_ARGUMENT."""
    generate = pb.GenerateRequest(prompt="x", notify=True)
    topic = pb.StartExternalRequest(topic="t", notify=True)
    for call in (
        kit.public.Generate(generate, metadata=token()),
        pushing.internal.StartExternal(topic, metadata=bearer("produce-key")),
    ):
        error = await fails(call)
        assert error.code() is StatusCode.INVALID_ARGUMENT
        assert b"notify" in details_of(error).details[0].value
