"""The stream of a real node over connections that break, and tokens that end."""

from __future__ import annotations

import asyncio
import time

import jwt
import msgspec

from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.streams import StreamLimits
from hub.api.tokens import FixedKeys, TokenReader, secret_key
from hub.client import HubClient, Publication, RetryPolicy, To
from tests.doubles import until
from tests.faults import FaultProxy
from tests.http.kit import LIMITS, running_hub

SECRET = "s" * 64
DOOR = JwtAuthenticator(TokenReader([FixedKeys([secret_key(SECRET)])]), AllowedOrigins([]))
EVENTS, BREAKS = 1000, 20
QUICK = RetryPolicy(min_delay_seconds=0.005, max_delay_seconds=0.02)


def quick_return() -> StreamLimits:
    """Clients are told to return after a millisecond."""
    return msgspec.structs.replace(LIMITS, retry_ms=1)


async def test_every_event_once_over_broken_connections() -> None:
    """1,000 events to the user and a topic over 20 breaks, half of them within an event: each
    channel's come once and in order.
    """
    async with (
        running_hub(limits=quick_return()) as hub,
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

        async def publish_and_cut() -> None:
            each = EVENTS // 2 // BREAKS
            for n in range(BREAKS):
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
            asyncio.timeout(20),
            asyncio.TaskGroup() as work,
        ):
            work.create_task(publish_and_cut())
            while opened <= BREAKS or len(seen["user"]) + len(seen["topic"]) < EVENTS:
                event = await anext(events)
                if event.name == "hub.open":
                    opened += 1
                else:
                    seen[event.name].append(event.json())
        assert seen == {"user": [*range(EVENTS // 2)], "topic": [*range(EVENTS // 2)]}
        assert opened == BREAKS + 1


FAILURES: list[int] = []


class Told(RetryPolicy, frozen=True):
    """Notes what each pause was asked for."""

    def delay_seconds(self, failures: int) -> float:
        FAILURES.append(failures)
        return 0.001


async def test_stream_that_breaks_as_soon_as_it_begins_is_no_success() -> None:
    """The pauses grow on over them; an event, or time that it stood, makes them short again."""
    FAILURES.clear()
    async with (
        running_hub(limits=quick_return()) as hub,
        FaultProxy(("127.0.0.1", hub.port)) as proxy,
        HubClient(f"http://127.0.0.1:{proxy.port}", user="alice", retry=Told()) as client,
        client.events(control=True) as events,
    ):

        async def opened() -> None:
            while (await anext(events)).name != "hub.open":
                pass

        for _ in range(3):
            await opened()
            proxy.reset_all()
        await opened()
        await hub.publish(to={"user": "alice"}, data=1)
        assert (await anext(events)).json() == 1
        for _ in range(2):
            proxy.reset_all()
            await opened()
        await asyncio.sleep(2)
        proxy.reset_all()
        await opened()
    assert FAILURES == [1, 2, 3, 1, 2, 1]


async def test_kept_cursor_continues_in_another_program() -> None:
    """A stream that begins at another one's cursor gives what follows it."""
    async with (
        running_hub() as hub,
        HubClient(f"http://127.0.0.1:{hub.port}", user="alice") as client,
    ):
        for n in range(4):
            await hub.publish(to={"user": "alice"}, data=n)
        async with client.events(cursor="start") as events:
            assert [(await anext(events)).decode(int) for _ in range(2)] == [0, 1]
            kept = events.cursor
        async with client.events(cursor=kept) as events:
            assert [(await anext(events)).decode(int) for _ in range(2)] == [2, 3]


async def test_stream_outlives_its_tokens() -> None:
    """Tokens of a second: the stream goes on with fresh ones, and misses nothing."""
    given = 0

    def token() -> str:
        nonlocal given
        given += 1
        life_seconds = 1 if given == 1 else 3600
        claims = {"sub": "alice", "exp": int(time.time()) + life_seconds}
        return jwt.encode(claims, SECRET, algorithm="HS256")

    async with running_hub(DOOR) as hub, HubClient(f"http://127.0.0.1:{hub.port}", token) as client:
        names: list[str] = []
        keeping = asyncio.create_task(hub.node.connections.expiry_timer.run())
        async with client.events(control=True) as events:
            while names.count("hub.open") < 2:
                event = await anext(events)
                names.append(event.name)
                if event.name == "hub.bye":
                    await hub.publish(to={"user": "alice"}, data=1)
            assert (await anext(events)).json() == 1
        keeping.cancel()
        assert given == 2
        assert names == ["hub.open", "hub.expiring", "hub.bye", "hub.open"]
