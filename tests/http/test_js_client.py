"""GET /hub.js: who may have it, and how often it travels."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.http.kit import Hub, running_hub


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without tokens."""
    async with running_hub() as hub:
        yield hub


async def test_any_site_may_import_it(hub: Hub) -> None:
    """JavaScript by its type, readable across origins, asked for anew each time."""
    async with hub.ask("GET", "/hub.js", headers={"Origin": "https://elsewhere.example"}) as found:
        assert (found.status, found.content_type) == (200, "text/javascript")
        assert found.headers["Access-Control-Allow-Origin"] == "*"
        assert found.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert "no-cache" in found.headers["Cache-Control"]
        assert "export function connect" in await found.text()


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
async def test_who_has_it_is_told_so(hub: Hub, form: str) -> None:
    """304 without a body for its entity tag, also one that a compressing proxy made weak."""
    async with hub.ask("GET", "/hub.js") as found:
        tag = found.headers["ETag"]
    async with hub.ask("GET", "/hub.js", headers={"If-None-Match": form.format(tag)}) as again:
        assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", tag)
        assert again.headers["Access-Control-Allow-Origin"] == "*"


async def test_another_version_travels(hub: Hub) -> None:
    """200 for any other tag."""
    async with hub.ask("GET", "/hub.js", headers={"If-None-Match": '"older"'}) as found:
        assert found.status == 200
