"""The stream of a real node over broken connections and expired tokens."""

from __future__ import annotations

import asyncio
import time

import jwt
import msgspec

from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.streams import StreamLimits
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub_client import HubClient, Publication, RetryPolicy, To
from tests.defaults import token_reader
from tests.doubles import until
from tests.faults import FaultProxy
from tests.http.kit import LIMITS, running_hub

SECRET = "s" * 64
AUTHENTICATOR = JwtAuthenticator(
    token_reader([FixedKeys([secret_key(SECRET)])]), AllowedOrigins([])
)
EVENTS, INTERRUPTIONS = 1000, 20
QUICK = RetryPolicy(min_delay_seconds=0.005, max_delay_seconds=0.02)


def quick_reconnect() -> StreamLimits:
    """Return limits with which clients reconnect after a millisecond."""
    return msgspec.structs.replace(LIMITS, retry_ms=1)


async def test_events_arrive_once_over_broken_connections() -> None:
    """The events of each channel arrive once and in order.

    1,000 events go to the user and a topic, and 20 interruptions happen, half of them inside an
    event.
    """
    async with (
        running_hub(limits=quick_reconnect()) as hub,
        FaultProxy(("127.0.0.1", hub.port)) as proxy,
        HubClient(
            f"http://127.0.0.1:{proxy.port}",
            user="alice",
            internal_url=f"http://127.0.0.1:{hub.internal_port}",
            retry=QUICK,
        ) as client,
    ):
        seen: dict[str, list[int]] = {"user": [], "topic": []}
        opened = 0

        async def publish_and_interrupt() -> None:
            each = EVENTS // 2 // INTERRUPTIONS
            for n in range(INTERRUPTIONS):
                await until(lambda n=n: opened == n + 1)  # type: ignore[misc]
                if n % 2:
                    proxy.cut_after(100 + 83 * n)
                batch = [
                    Publication(to, name, number)
                    for number in range(n * each, (n + 1) * each)
                    for to, name in ((To(user="alice"), "user"), (To(topic="t"), "topic"))
                ]
                results = await client.publish_many(batch)
                assert all(result.error is None for result in results)
                if n % 2:
                    await until(lambda: not proxy.connections)
                    proxy.heal()
                else:
                    proxy.reset_all()

        async with (
            client.events(topics=["t"], control=True) as events,
            asyncio.timeout(60),
            asyncio.TaskGroup() as work,
        ):
            work.create_task(publish_and_interrupt())
            while opened <= INTERRUPTIONS or len(seen["user"]) + len(seen["topic"]) < EVENTS:
                event = await anext(events)
                if event.name == "hub.open":
                    opened += 1
                else:
                    seen[event.name].append(event.json())
        assert seen == {"user": [*range(EVENTS // 2)], "topic": [*range(EVENTS // 2)]}
        assert opened == INTERRUPTIONS + 1


FAILURES: list[int] = []


class RecordingPolicy(RetryPolicy, frozen=True):
    """Records the number of failures before each delay."""

    def delay_seconds(self, failures: int) -> float:
        FAILURES.append(failures)
        return 0.001


async def test_delays_grow_while_streams_break_at_once() -> None:
    """An event, or a connection that stays open for some time, resets the delay."""
    FAILURES.clear()
    async with (
        running_hub(limits=quick_reconnect()) as hub,
        FaultProxy(("127.0.0.1", hub.port)) as proxy,
        HubClient(
            f"http://127.0.0.1:{proxy.port}", user="alice", retry=RecordingPolicy()
        ) as client,
        client.events(control=True) as events,
    ):

        async def wait_until_open() -> None:
            while (await anext(events)).name != "hub.open":
                pass

        for _ in range(3):
            await wait_until_open()
            proxy.reset_all()
        await wait_until_open()
        await hub.publish(to={"user": "alice"}, data=1)
        assert (await anext(events)).json() == 1
        for _ in range(2):
            proxy.reset_all()
            await wait_until_open()
        await asyncio.sleep(2)
        proxy.reset_all()
        await wait_until_open()
    assert FAILURES == [1, 2, 3, 1, 2, 1]


async def test_kept_cursor_continues_in_another_program() -> None:
    """A stream that begins at the cursor of another stream yields the events after it."""
    async with (
        running_hub() as hub,
        HubClient(f"http://127.0.0.1:{hub.port}", user="alice") as client,
    ):
        for n in range(4):
            await hub.publish(to={"user": "alice"}, data=n)
        async with client.events(cursor="start") as events:
            assert [(await anext(events)).decode(int) for _ in range(2)] == [0, 1]
            cursor = events.cursor
        async with client.events(cursor=cursor) as events:
            assert [(await anext(events)).decode(int) for _ in range(2)] == [2, 3]


async def test_stream_continues_after_its_token_expires() -> None:
    """The client reconnects with a new token and misses no event."""
    tokens = 0

    def token() -> str:
        nonlocal tokens
        tokens += 1
        lifetime_seconds = 1 if tokens == 1 else 3600
        claims = {"sub": "alice", "exp": int(time.time()) + lifetime_seconds}
        return jwt.encode(claims, SECRET, algorithm="HS256")

    async with (
        running_hub(AUTHENTICATOR) as hub,
        HubClient(f"http://127.0.0.1:{hub.port}", token) as client,
    ):
        names: list[str] = []
        expiring = asyncio.create_task(hub.node.connections.expiry_timer.run())
        async with client.events(control=True) as events:
            while names.count("hub.open") < 2:
                event = await anext(events)
                names.append(event.name)
                if event.name == "hub.bye":
                    await hub.publish(to={"user": "alice"}, data=1)
            assert (await anext(events)).json() == 1
        expiring.cancel()
        assert tokens == 2
        assert names == ["hub.open", "hub.expiring", "hub.bye", "hub.open"]
