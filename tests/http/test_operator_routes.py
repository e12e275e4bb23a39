"""What the console reads and does: answers of users, stops, pages of connections, the live tail."""

from __future__ import annotations

import msgspec
import pytest

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.core.channel import CONSOLE_USER, user_channel
from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.engine.tasks import Supervisor, SystemClock
from hub.ports.events import Publication
from tests.http.kit import Hub, Stream, running_hub

BODY = {"prompt": "hi", "model": "m1"}


async def _start(hub: Hub, user: str) -> str:
    status, started = await hub.call("POST", f"/generations?user={user}", json=BODY)
    assert status == 202
    generation: str = started["generation"]
    return generation


async def test_answers_of_a_user_and_a_stop() -> None:
    """An operator lists the answers of a user and stops one, as nobody of the users."""
    async with running_hub() as hub:
        generations = [await _start(hub, "alice") for _ in range(3)]
        await _start(hub, "bob")
        path = "/users/alice/generations?limit=2"
        status, page = await hub.call("GET", path, internal=True)
        assert status == 200
        assert [each["generation"] for each in page["generations"]] == generations[:0:-1]
        following = f"{path}&before={page['next']}"
        status, page = await hub.call("GET", following, internal=True)
        assert [each["generation"] for each in page["generations"]] == generations[:1]
        stop = f"/generations/{generations[0]}"
        assert (await hub.call("DELETE", stop, internal=True))[0] == 202
        assert (await hub.call("DELETE", stop, internal=True))[0] == 200
        assert (await hub.call("DELETE", "/generations/g00", internal=True))[0] == 404
        status, snapshot = await hub.call("GET", stop, internal=True)
        assert (snapshot["status"], snapshot["by"]) == ("stopped", "hub operator")
        assert [each["kind"] for each in snapshot["moments"]] == ["end"]


async def test_stop_needs_the_scope_admin() -> None:
    """A key that may read may not stop."""
    keys = ApiKeys([ApiKey("k", hash_key("secret"), frozenset({"read"}))])
    async with running_hub(keys=keys) as hub:
        headers = {"Authorization": "Bearer secret"}
        for method, path, expected in (
            ("DELETE", "/generations/g1", 403),
            ("GET", "/users/alice/generations", 200),
        ):
            async with hub.ask(method, path, internal=True, headers=headers) as response:
                assert response.status == expected


async def test_pages_of_active_answers() -> None:
    """`skip` leaves out the first ones, and the total counts all."""
    async with running_hub() as hub:
        generations = {await _start(hub, f"user{n}") for n in range(5)}
        seen: list[str] = []
        for skip in (0, 2, 4):
            status, page = await hub.call("GET", f"/generations?limit=2&skip={skip}", internal=True)
            assert (status, page["total"]) == (200, 5)
            seen += [each["generation"] for each in page["generations"]]
        assert (len(seen), {*seen}) == (5, generations)
        assert (await hub.call("GET", "/generations?skip=-1", internal=True))[0] == 400


async def test_pages_of_connections_and_stored_bytes() -> None:
    """Connections come in pages and are found by their id; a user has a budget."""
    async with running_hub() as hub, Supervisor(SystemClock()) as tasks:
        tasks.start("node state", hub.node.connection_query.keep_node_state)
        tasks.start("connection query", hub.node.connection_query.answer_requests)
        tasks.start("commands", hub.backend.commands.run)
        await _start(hub, "alice")
        async with hub.stream("/sse/connect/alice"), hub.stream("/sse/connect/bob"):
            status, first = await hub.call("GET", "/connections?limit=1", internal=True)
            assert (status, first["total"], len(first["connections"])) == (200, 2, 1)
            path = f"/connections?limit=1&after={first['next']}"
            status, second = await hub.call("GET", path, internal=True)
            assert second["next"] is None
            users = {page["connections"][0]["user"] for page in (first, second)}
            assert users == {"alice", "bob"}
            path = f"/connections?connection={first['next']}"
            status, one = await hub.call("GET", path, internal=True)
            assert one["connections"] == first["connections"]
            status, user = await hub.call("GET", "/users/alice", internal=True)
            assert 0 < user["stored_bytes"] < user["max_stored_bytes"]


async def test_live_tail() -> None:
    """It has the events of one user or one topic, and begins after a cursor."""
    async with running_hub() as hub:
        for query, to in (("user=alice", {"user": "alice"}), ("topic=news", {"topic": "news"})):
            async with hub.ask("GET", f"/console/tail?{query}", internal=True) as response:
                stream = Stream(response)
                opened = await stream.next()
                assert msgspec.json.decode(opened.data)["user"] == CONSOLE_USER
                await hub.publish(to={"user": "bob"}, data=1)
                await hub.publish(to=to, event="x", data={"n": 2})
                event = await stream.next()
                assert (event.name, event.data) == ("x", '{"n":2}')
            path = f"/console/tail?{query}&cursor=start"
            async with hub.ask("GET", path, internal=True) as response:
                stream = Stream(response)
                assert (await stream.next()).name == "hub.open"
                assert (await stream.next()).name == "x"


@pytest.mark.parametrize("query", ["", "?user=a&topic=b", "?user=a%20b", "?topic=a,b", "?user="])
async def test_tail_of_one_channel(query: str) -> None:
    """Anything but one user or one topic is refused."""
    async with running_hub() as hub:
        assert (await hub.call("GET", f"/console/tail{query}", internal=True))[0] == 400


async def test_moments_of_an_answer() -> None:
    """The snapshot of an operator has the times of its attempts, in their order."""
    async with running_hub() as hub:
        generation = await _start(hub, "alice")
        for update in (
            GenerationUpdate(generation, 1, UpdateKind.BEGIN, Status.RUNNING),
            GenerationUpdate(generation, 1, UpdateKind.DELTA, index=0, entries=b"Hello"),
        ):
            event = Publication(channel=user_channel("alice"), name="x", data=b"{}", update=update)
            await hub.backend.events.publish([event])
        _, snapshot = await hub.call("GET", f"/generations/{generation}", internal=True)
        assert [(each["kind"], each["attempt"]) for each in snapshot["moments"]] == [
            ("begin", 1),
            ("delta", 1),
        ]
        assert snapshot["requested_at"] <= snapshot["moments"][0]["at"]
        _, own = await hub.call("GET", f"/generations/{generation}?user=alice")
        assert "moments" not in own
