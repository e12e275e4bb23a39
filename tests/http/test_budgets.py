"""Budgets of users: stored bytes, and new topics a minute."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.topic_budget import TopicBudget
from hub.engine.storage_budget import RECORD_BYTES, StorageBudget
from hub.errors import TooManyRequests
from tests.http.kit import SETTINGS, Hub, running_hub

MAX_BYTES = 3000


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings with small budgets."""
    sections = {
        "generations": {"max_stored_bytes_per_user": MAX_BYTES},
        "stream": {"max_new_topics_per_minute": 5},
    }
    changed = {
        name: getattr(SETTINGS, name).model_copy(update=values) for name, values in sections.items()
    }
    monkeypatch.setattr("tests.http.kit.SETTINGS", SETTINGS.model_copy(update=changed))


async def ask(hub: Hub, prompt: str, user: str = "alice", **more: Any) -> tuple[int, Any]:
    return await hub.call("POST", f"/generations?user={user}", json={"prompt": prompt, **more})


@pytest.mark.usefixtures("limited")
async def test_stored_bytes_of_a_user() -> None:
    """Prompts beyond the budget are a 429 with Retry-After, also when each answer is stopped; other
    users are not affected, and the refusal is counted.
    """
    async with running_hub() as hub:
        started: Any = None
        for _ in range(2):
            status, started = await ask(hub, "x" * 200)
            assert status == 202
            path = f"/generations/{started['generation']}?user=alice"
            assert (await hub.call("DELETE", path))[0] in (200, 202)
        path = "/generations?user=alice"
        async with hub.ask("POST", path, json={"prompt": "x" * 200}) as response:
            problem = await response.json(content_type=None)
            assert (response.status, problem["code"]) == (429, "storage_budget_exceeded")
            assert 0 < int(response.headers["Retry-After"]) <= 3661
        again = f"/generations/{started['generation']}/restart?user=alice"
        assert (await hub.call("POST", again))[0] == 429
        body = {"model": "m1", "messages": [{"role": "user", "content": "x"}]}
        assert (await hub.call("POST", "/v1/responses?user=alice", json={"input": "x"}))[0] == 429
        assert (await hub.call("POST", "/v1/chat/completions?user=alice", json=body))[0] == 429
        assert (await ask(hub, "x" * 200, "bob"))[0] == 202
        assert b'limit="stored_bytes"' in await hub.metrics()


@pytest.mark.usefixtures("limited")
async def test_repeated_request_costs_once() -> None:
    """A request that joins a generation by its idempotency key stores nothing more."""
    async with running_hub() as hub:
        for _ in range(10):
            assert (await ask(hub, "x" * 200, id="k"))[0] == 202
        assert (await ask(hub, "x" * 200))[0] == 202


@pytest.mark.usefixtures("limited")
async def test_tickets_count() -> None:
    """Tickets are stored, too."""
    async with running_hub() as hub:
        statuses = [(await hub.call("POST", "/tickets?user=alice"))[0] for _ in range(4)]
        assert statuses == [201, 201, 429, 429]
        assert (await hub.call("POST", "/tickets?user=bob"))[0] == 201


@pytest.mark.usefixtures("limited")
async def test_new_topics_of_a_user() -> None:
    """New topics beyond the budget are a 429 with Retry-After on every transport; those that the
    user followed before are free.
    """
    async with running_hub() as hub:
        poll = "/poll/connect/alice?wait=0&topics="
        for _ in range(4):
            assert (await hub.call("GET", poll + "a,b,c"))[0] == 200
        assert (await hub.call("GET", poll + "d,e"))[0] == 200
        async with hub.ask("GET", poll + "a,f") as response:
            problem = await response.json(content_type=None)
            assert (response.status, problem["code"]) == (429, "too_many_new_topics")
            assert 0 < int(response.headers["Retry-After"]) <= 60
        assert (await hub.call("GET", "/sse/connect/alice?topics=g"))[0] == 429
        body = {"topics": ["h"]}
        assert (await hub.call("POST", "/sse/connect/alice", json=body))[0] == 429
        url = f"http://127.0.0.1:{hub.port}/ws/connect/alice"
        async with hub.session.ws_connect(url) as socket:
            await socket.receive_json()
            await socket.send_json({"type": "subscribe", "topics": ["i"], "id": "1"})
            assert (await socket.receive_json())["data"]["status"] == 429
            await socket.send_json({"type": "subscribe", "topics": ["a", "e"], "id": "2"})
            assert (await socket.receive_json())["data"]["status"] == 200
        assert (await hub.call("GET", "/poll/connect/bob?wait=0&topics=f"))[0] == 200
        assert b'limit="topics"' in await hub.metrics()


@given(
    st.lists(
        st.tuples(st.floats(0, 90), st.sampled_from("ab"), st.sets(st.integers(0, 30), max_size=6)),
        max_size=40,
    )
)
def test_topic_budget_holds(requests: list[tuple[float, str, set[int]]]) -> None:
    """In no minute does a user follow more new topics than the budget; a refusal says when to try
    again, and then a small request is accepted.
    """
    budget, now = TopicBudget(5), 0.0
    accepted: list[tuple[float, str, set[str]]] = []
    for pause, user, numbers in requests:
        now += pause
        topics = {str(n) for n in numbers}
        wait = budget.take(user, topics, now)
        assert 0 <= wait < 60.001
        if wait == 0:
            accepted.append((now, user, topics))
        else:
            assert budget.take(user, {"fresh"}, now + wait + 0.001) == 0
            now += wait + 0.001
            accepted.append((now, user, {"fresh"}))
    for user in "ab":
        of_user = [(at, topics) for at, name, topics in accepted if name == user]
        for at, _ in of_user:
            minute = [topics for when, topics in of_user if at <= when < at + 60]
            earlier = {t for when, topics in of_user if when < at for t in topics}
            new = {t for topics in minute for t in topics} - earlier
            assert len(new) <= 2 * 5  # the minute may span two of the budget's minutes


async def test_any_charge(open_redis: Any) -> None:
    """In Redis the sum stays within the budget; a refusal names a time, a refund makes room."""
    from hub.backends.redis.budgets import RedisBudgetStore

    opened = await open_redis("valkey")
    budget = StorageBudget(RedisBudgetStore(opened.hub_client, seconds=60.0), max_bytes=MAX_BYTES)
    size = MAX_BYTES // 2 - RECORD_BYTES
    await budget.charge("a/b|c", size)
    await budget.charge("a/b|c", size)
    with pytest.raises(TooManyRequests) as caught:
        await budget.charge("a/b|c", size)
    assert 0 < caught.value.retry_after_seconds <= 62
    await budget.charge("other", size)
    await budget.refund("a/b|c", size)
    await budget.charge("a/b|c", size)
    with pytest.raises(TooManyRequests):  # larger than the whole budget
        await budget.charge("fresh", MAX_BYTES)
    (key,) = await opened.client.keys("*stored_bytes:user:a/b|c")
    assert 0 < await opened.client.pttl(key) <= 61_000
    fields = await opened.client.hgetall(key)  # what an earlier interval holds expires by itself
    oldest = min(int(field) for field in fields)
    await opened.client.delete(key)
    await opened.client.hset(key, oldest - 61, MAX_BYTES)
    await budget.charge("a/b|c", size)
    assert str(oldest - 61).encode() not in await opened.client.hgetall(key)
