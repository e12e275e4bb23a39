"""The demo page, /healthz, /readyz and unknown routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.http.kit import Hub, running_hub


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without authentication."""
    async with running_hub() as hub:
        yield hub


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/demo/demo.css", "text/css"),
        ("/demo/demo.js", "text/javascript"),
        ("/demo/chat.js", "text/javascript"),
        ("/demo/icon.svg", "image/svg+xml"),
    ],
)
async def test_page_files(hub: Hub, path: str, kind: str) -> None:
    """Each file has its content type, and each document a policy against inline scripts and other
    origins. The policy of a document holds for what it loads, so no other file repeats it.
    """
    async with hub.ask("GET", path) as response:
        assert (response.status, response.content_type) == (200, kind)
        policy = response.headers.get("Content-Security-Policy", "")
        assert ("default-src 'self'" in policy) is (kind in ("text/html", "image/svg+xml"))
        assert "unsafe-inline" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/demo/no.js", "/demo/..%2Fauth.py", "/nowhere"])
async def test_no_other_file(hub: Hub, path: str) -> None:
    """An unknown file is a 404 with a problem document."""
    status, problem = await hub.call("GET", path)
    assert (status, problem["title"]) == (404, "Not Found")


async def test_note_to_self(hub: Hub) -> None:
    """Without authentication, the page may publish to its own user."""
    async with hub.stream("/sse/connect/alice") as stream:
        body = {"event": "notification", "data": {"title": "T"}}
        assert (await hub.call("POST", "/dev/publish?user=alice", json=body))[0] == 200
        assert (await stream.next()).data == '{"title":"T"}'


async def test_probes(hub: Hub) -> None:
    """A node is always alive, and ready unless the broker is unavailable or the node drains."""
    assert (await hub.call("GET", "/healthz", internal=True))[0] == 200
    assert (await hub.call("GET", "/readyz", internal=True))[0] == 200
    hub.backend.is_unavailable = True
    status, problem = await hub.call("GET", "/readyz", internal=True)
    assert (status, "broker" in problem["detail"]) == (503, True)
    hub.backend.is_unavailable = False
    await hub.node.connections.drain(0.0, asyncio.Event())
    status, problem = await hub.call("GET", "/readyz", internal=True)
    assert (status, problem["detail"]) == (503, "the node is draining")
    assert (await hub.call("GET", "/healthz", internal=True))[0] == 200
