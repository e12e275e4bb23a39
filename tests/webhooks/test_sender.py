"""An attempt reaches a public address only, is signed, bounded, and never follows a redirect."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from hub.core.deliveries import Delivery, Done, Failed, Postponed, RetryPolicy, new_delivery_id
from hub.core.webhooks import (
    WEBHOOK_QUEUE,
    Endpoint,
    build_body,
    build_headers,
    find_secret_problem,
    is_endpoint_id,
    new_endpoint_id,
    new_secret,
    settings_endpoint_id,
)
from hub.engine.delivery_loop import DeliveryLoop
from hub.engine.tasks import Supervisor, SystemClock
from hub.http.outgoing import open_public_client
from hub.ports.deliveries import TakenDelivery
from hub.ports.webhooks import PausePolicy
from hub.testing.contracts.node import ALICE
from hub.testing.deliveries import MemoryDeliveryStore
from hub.testing.webhooks import MemoryWebhookStore
from hub.webhooks.endpoints import Endpoints
from hub.webhooks.sender import WebhookSender
from tests.doubles import FakeClock, settled
from tests.http.test_outgoing import FixedResolver
from tests.webhooks.receiver import SECRET, Receiver

POLICY = PausePolicy(failures=3, failing_seconds=0.0, min_seconds=60.0, max_seconds=600.0)


class Kit:
    """A sender, and a receiver in this process that it may reach."""

    def __init__(self, receiver: Receiver, clock: FakeClock) -> None:
        self.receiver = receiver
        self.clock = clock
        self.store = MemoryWebhookStore(now=clock.now)
        self.sender: WebhookSender
        self.endpoints: Endpoints

    async def open(
        self,
        opened: AsyncExitStack,
        *,
        url: str | None = None,
        resolver: Any = None,
        timeout_seconds: float = 60.0,
    ) -> None:
        """Open a sender for one endpoint. url: a public one instead of the receiver's.

        timeout_seconds: of a request to the receiver.
        """
        endpoint = Endpoint(
            id=settings_endpoint_id("x"),
            url=url or self.receiver.url,
            secrets=(new_secret(), SECRET),
            allow_private=url is None,
        )
        self.endpoints = Endpoints(self.store, self.clock, [endpoint])
        public = await opened.enter_async_context(
            open_public_client(timeout_seconds=20.0, resolver=resolver)
        )
        private = await opened.enter_async_context(
            open_public_client(allow_private=True, timeout_seconds=timeout_seconds)
        )
        self.sender = WebhookSender(
            self.endpoints, self.store, public, private, max_per_endpoint=2, pauses=POLICY
        )

    async def send(self, body: bytes = b'{"type":"x"}', **more: Any) -> Any:
        taken = TakenDelivery(
            **{
                "queue": WEBHOOK_QUEUE,
                "channel": ALICE,
                "lane": settings_endpoint_id("x"),
                "id": new_delivery_id(ALICE),
                "body": body,
                "token": 1,
                "failures": 0,
                "age_seconds": 0.0,
                **more,
            }
        )
        return await self.sender.send(taken)


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with AsyncExitStack() as opened:
        receiver = Receiver()
        await receiver.server.start_server()
        opened.push_async_callback(receiver.server.close)
        kit = Kit(receiver, FakeClock())
        await kit.open(opened)
        yield kit


def responding(status: int, **headers: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def respond(request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    return respond


async def test_received(kit: Kit) -> None:
    """A body arrives as it is, with an id and signatures that Standard Webhooks accepts."""
    body = build_body("x", {"text": "ü\u2028 </script>", "n": 1}, time.time())
    assert await kit.send(body, id="d00abc") == Done()
    ((identifier, received),) = kit.receiver.received
    assert (identifier, received["data"]["text"]) == ("d00abc", "ü\u2028 </script>")


@given(st.binary(min_size=24, max_size=64), st.text(), st.integers(0, 3))
def test_signatures(key: bytes, text: str, number: int) -> None:
    """The package of Standard Webhooks accepts each secret's signature of any body, and no other
    body.
    """
    keys = [new_secret() for _ in range(2)]
    endpoint = Endpoint(id="s", url="", secrets=tuple(keys))
    body = build_body("x", {"text": text.encode(errors="replace").decode(), "n": number}, 1e9)
    headers = dict(build_headers(endpoint, "d00x", body, time.time()))
    for secret in keys:
        Webhook(secret).verify(body, headers)
        with pytest.raises(Exception, match="signature"):
            Webhook(secret).verify(body + b" ", headers)
    with pytest.raises(Exception, match="signature"):
        Webhook(key).verify(body, headers)


@pytest.mark.parametrize(
    ("status", "headers", "retry_after"),
    [
        (500, {}, 0.0),
        (410, {}, 0.0),
        (302, {"Location": "http://127.0.0.1:1/"}, 0.0),
        (307, {"Location": "https://other.example/"}, 0.0),
        (429, {"Retry-After": "31536000"}, 31536000.0),
        (503, {"Retry-After": "9" * 400}, 999999999999.0),
        (503, {"Retry-After": "soon"}, 0.0),
        (503, {"Retry-After": "-1"}, 0.0),
    ],
)
async def test_refused(kit: Kit, status: int, headers: dict[str, str], retry_after: float) -> None:
    """Everything but 2xx is a failure; a redirect is not followed."""
    kit.receiver.respond = responding(status, **headers)
    result = await kit.send()
    assert isinstance(result, Failed)
    assert str(status) in result.error
    assert result.retry_after_seconds == retry_after
    assert kit.receiver.requests == 1


@pytest.mark.parametrize("date", ["Wed, 21 Oct 2099 07:28:00 GMT", "Wed, 21 Oct 2099 07:28:00"])
async def test_retry_after_date(kit: Kit, date: str) -> None:
    """A date of Retry-After counts, with or without a time zone."""
    kit.receiver.respond = responding(503, **{"Retry-After": date})
    result = await kit.send()
    assert isinstance(result, Failed)
    assert result.retry_after_seconds > 365 * 86400


@pytest.mark.parametrize("kind", ["endless", "hangs", "large", "closes"])
async def test_hostile_responses(kit: Kit, kind: str) -> None:
    """A response without an end, of 10 MB, or none at all costs bounded time and memory."""
    released = asyncio.Event()

    async def respond(request: web.Request) -> web.StreamResponse:
        if kind == "large":
            return web.Response(status=500, body=b"x" * 10_000_000)
        if kind == "closes":
            assert request.transport is not None
            request.transport.abort()
        if kind == "hangs":
            await released.wait()
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        while kind == "endless" and not released.is_set():
            await response.write(b"x")
            await asyncio.sleep(0.01)
        return response

    kit.receiver.respond = respond
    async with AsyncExitStack() as opened:
        if kind in ("endless", "hangs"):
            await kit.open(opened, timeout_seconds=0.3)
        result = await kit.send()
    released.set()
    assert isinstance(result, Failed)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "10.1.2.3", "0.0.0.0"]
)
async def test_private_addresses(kit: Kit, address: str) -> None:
    """A public name that resolves to an address inside gets no connection, at any attempt."""
    async with AsyncExitStack() as opened:
        resolver = FixedResolver(["8.8.8.8"])
        await kit.open(opened, url="https://hook.example/", resolver=resolver)
        resolver.addresses = [address]  # rebinding: the check of the URL has seen another address
        result = await kit.send()
        assert isinstance(result, Failed)
        assert "no public address" in result.error
    for host in (address, f"[{address}]"):
        async with AsyncExitStack() as opened:
            await kit.open(opened, url=f"https://{host}:{kit.receiver.server.port}/")
            assert isinstance(await kit.send(), Failed)
    assert kit.receiver.requests == 0


async def test_pause(kit: Kit) -> None:
    """An endpoint that keeps failing gets nothing for a while, and a success ends the pauses."""
    kit.receiver.respond = responding(500)
    for _ in range(3):
        assert isinstance(await kit.send(), Failed)
    requests = kit.receiver.requests
    result = await kit.send()
    assert isinstance(result, Postponed)
    assert 0 < result.delay_seconds <= 75
    await kit.clock.advance(59.0)
    assert isinstance(await kit.send(), Postponed)
    assert kit.receiver.requests == requests
    assert kit.endpoints.count_paused() == 1
    await kit.clock.advance(1.5)
    assert kit.endpoints.count_paused() == 0
    assert isinstance(await kit.send(), Failed)  # one attempt, and a longer pause
    assert isinstance(await kit.send(), Postponed)
    assert kit.endpoints.paused_seconds(settings_endpoint_id("x")) > 100
    await kit.clock.advance(121.0)
    kit.receiver.respond = None
    assert await kit.send() == Done()
    assert kit.endpoints.state_of(settings_endpoint_id("x")) is None
    assert await kit.send() == Done()


async def test_deleted_endpoint(kit: Kit) -> None:
    """What waits for an endpoint that is gone is dropped; a new endpoint is found."""
    assert await kit.send(lane="w_000000000000") == Done()
    other = Endpoints(kit.store, kit.clock)
    created = await other.create("https://127.0.0.1:1/", ["x"], None)
    result = await kit.send(lane=created.id)
    assert isinstance(result, Failed)
    assert "not public" in result.error


async def test_endpoint_of_newer_settings(kit: Kit) -> None:
    """A worker whose settings lack the endpoint drops nothing: they may be old ones."""
    assert isinstance(await kit.send(lane=settings_endpoint_id("new")), Postponed)


async def test_share_of_an_endpoint(kit: Kit) -> None:
    """An endpoint that hangs takes only its share of the attempts."""
    released = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    kit.receiver.respond = hang
    first = [asyncio.create_task(kit.send()) for _ in range(2)]
    while kit.receiver.requests < 2:
        await asyncio.sleep(0)
    assert isinstance(await kit.send(), Postponed)
    released.set()
    assert await asyncio.gather(*first) == [Done(), Done()]


async def test_everything_arrives_in_order(kit: Kit) -> None:
    """A receiver that fails, hangs, redirects and dies gets every event of a user in order."""
    clock = SystemClock()
    store = MemoryDeliveryStore()
    faults = [
        responding(500),
        responding(302, Location="/x"),
        responding(429, **{"Retry-After": "9"}),
    ]
    count = 0

    async def respond(request: web.Request) -> web.StreamResponse:
        nonlocal count
        count += 1
        if count % 4 == 0:
            assert request.transport is not None
            request.transport.abort()
        if count % 4 < 3:
            return await faults[count % 3](request)
        return web.Response()

    kit.receiver.respond = respond
    sender = WebhookSender(
        kit.endpoints,
        kit.store,
        kit.sender._public,
        kit.sender._private,
        max_per_endpoint=4,
        pauses=PausePolicy(failures=10**9, failing_seconds=1e9, min_seconds=1, max_seconds=1),
    )
    for n in range(12):
        body = build_body("x", {"n": n}, time.time())
        await store.add(
            [
                Delivery(
                    queue=WEBHOOK_QUEUE,
                    channel=ALICE,
                    lane=settings_endpoint_id("x"),
                    id=new_delivery_id(ALICE),
                    body=body,
                )
            ]
        )
    loop = DeliveryLoop(
        store,
        WEBHOOK_QUEUE,
        sender.send,
        clock,
        policy=RetryPolicy(min_seconds=0.001, max_seconds=0.01, max_age_seconds=1e9),
        concurrency=4,
        lease_seconds=45.0,
        poll_seconds=0.01,
    )
    async with Supervisor(clock) as tasks:
        tasks.start("loop", loop.run)
        await kit.receiver.wait_for(12)
    assert [body["data"]["n"] for _, body in kit.receiver.received] == list(range(12))
    await settled()


@given(st.text(max_size=100))
def test_secrets(text: str) -> None:
    """Any text is a secret or has a problem that ends a sentence."""
    problem = find_secret_problem(text)
    assert problem is None or problem.startswith("must")
    assert find_secret_problem(new_secret()) is None
    assert is_endpoint_id(new_endpoint_id())
    assert is_endpoint_id(settings_endpoint_id(text.encode(errors="replace").decode()))
