"""The console: its files, its stream of reports, active generations and usage."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.core.channel import check_user_id, user_channel
from hub.core.generation import GenerationUpdate, Status, UpdateKind
from hub.errors import BadRequest
from hub.ports.events import FROM_START, Publication
from tests.http.kit import Stream, check_described, running_hub


def keys(*scopes: str) -> ApiKeys:
    return ApiKeys([ApiKey("k", hash_key("secret"), frozenset(scopes))])


BEARER = {"Authorization": "Bearer secret"}


async def test_page_and_files() -> None:
    """The page needs no key, and its headers forbid other origins."""
    async with running_hub(keys=keys("read")) as hub:
        async with hub.ask("GET", "/console", internal=True) as response:
            assert response.status == 200
            assert response.content_type == "text/html"
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert (await hub.call("GET", "/console/nothing.js", internal=True))[0] == 404
        assert (await hub.call("GET", "/console/reports", internal=True))[0] == 401


async def test_live_reports() -> None:
    """The stream has the metrics of each process, including the console's own connection."""
    async with running_hub(keys=keys("read")) as hub:
        reporting = asyncio.create_task(hub.node.live_metrics.run())
        async with hub.ask("GET", "/console/reports", internal=True, headers=BEARER) as response:
            stream = Stream(response)
            assert (await stream.next()).name == "hub.open"
            report = await stream.next()
            assert report.name == "hub.report"
            check_described(report.name, msgspec.json.decode(report.data))
            report_data = msgspec.json.decode(report.data)
            assert report_data["from"] == "n1"
            samples = {each["name"]: each["samples"] for each in report_data["metrics"]}
            assert samples["hub_connections"] == [[["sse"], 1]]
        reporting.cancel()


async def test_notification_of_an_operator() -> None:
    """It is published as any other, and the log says who sent it, without its text."""
    async with running_hub(keys=keys("publish")) as hub:
        with capture_logs() as logs:
            status, result = await hub.call(
                "POST",
                "/console/notifications",
                internal=True,
                headers=BEARER,
                json={"user": "alice", "title": "Tea is ready"},
            )
        assert (status, result["published"][0]["channel"]) == (200, "user:alice")
        stored = await hub.backend.events.read(
            {user_channel("alice"): FROM_START}, max_events=9, max_bytes=999
        )
        (event,) = stored[user_channel("alice")].events
        assert (event.name, event.data) == ("notification", b'{"title":"Tea is ready"}')
        (audit,) = [log for log in logs if log["event"].startswith("audit.")]
        assert (audit["event"], audit["by"], audit["user"]) == ("audit.notified", "k", "alice")
        assert "Tea" not in str(audit)
    async with running_hub(keys=keys("read")) as hub:
        body = {"user": "alice", "title": "Tea is ready"}
        status, _ = await hub.call(
            "POST", "/console/notifications", internal=True, headers=BEARER, json=body
        )
        assert status == 403


async def test_operator_is_nobodys_namesake() -> None:
    """A user cannot be addressed by the console's internal user id."""
    async with running_hub() as hub, hub.ask("GET", "/console/reports", internal=True) as response:
        opened = msgspec.json.decode((await Stream(response).next()).data)
        (connection,) = hub.node.connections.connections
        assert connection.user == opened["user"]
        with pytest.raises(BadRequest):
            check_user_id(connection.user)


async def test_answers_that_run_and_wait() -> None:
    """Active generations are listed with their progress; the text requires the scope admin."""
    async with running_hub(keys=keys("read")) as hub:
        body = {"prompt": "hi", "model": "m2"}
        generation = (await hub.call("POST", "/generations?user=alice", json=body))[1]["generation"]
        for step, name, data in (
            (
                GenerationUpdate(generation, 1, UpdateKind.BEGIN, Status.RUNNING),
                "generation.started",
                b"{}",
            ),
            (
                GenerationUpdate(generation, 1, UpdateKind.DELTA, index=0, entries=b"Hello"),
                "generation.delta",
                b"{}",
            ),
        ):
            event = Publication(channel=user_channel("alice"), name=name, data=data, update=step)
            await hub.backend.events.publish([event])
        status, page = await hub.call("GET", "/generations", internal=True, headers=BEARER)
        assert (status, page["total"]) == (200, 1)
        (shown,) = page["generations"]
        assert "text" not in shown
        assert expected(shown) == (generation, "alice", "running", "m2", 5, 1)
        path = "/generations?text=true"
        assert (await hub.call("GET", path, internal=True, headers=BEARER))[0] == 403
    async with running_hub(keys=keys("read", "admin")) as hub:
        await hub.call("POST", "/generations?user=bob", json=body)
        status, page = await hub.call("GET", path, internal=True, headers=BEARER)
        assert [each["text"] for each in page["generations"]] == [""]


def expected(shown: Any) -> tuple[Any, ...]:
    fields = ("generation", "user", "status", "model", "characters", "deltas")
    return tuple(shown[field] for field in fields)


async def test_days_of_usage() -> None:
    """The number of days must be an integer between 1 and 31."""
    async with running_hub() as hub:
        for days, status in (("1", 200), ("31", 200), ("0", 400), ("²", 400), ("9" * 5000, 400)):
            path = f"/usage?days={days}"
            assert (await hub.call("GET", path, internal=True))[0] == status, days
