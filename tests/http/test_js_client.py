"""The modules of the JavaScript client: cross-origin use and caching."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.http.kit import Hub, running_hub

PAGES = Path(__file__).parents[2] / "hub" / "http" / "pages"
ELEMENT_PARTS = sorted(part.name for part in (PAGES / "hub-inbox").iterdir())


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without authentication."""
    async with running_hub() as hub:
        yield hub


async def test_any_site_may_import_it(hub: Hub) -> None:
    """Every origin may import the module, and browsers revalidate it each time."""
    headers = {"Origin": "https://elsewhere.example", "Accept-Encoding": "identity"}
    async with hub.ask("GET", "/hub.js", headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/javascript")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert "no-cache" in response.headers["Cache-Control"]
        assert "export function connect" in await response.text()


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
async def test_who_has_it_is_told_so(hub: Hub, form: str) -> None:
    """The current entity tag gets a 304 without a body, also in its weak form."""
    async with hub.ask("GET", "/hub.js") as response:
        tag = response.headers["ETag"]
    async with hub.ask("GET", "/hub.js", headers={"If-None-Match": form.format(tag)}) as again:
        assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", tag)
        assert again.headers["Access-Control-Allow-Origin"] == "*"


async def test_another_version_travels(hub: Hub) -> None:
    """Any other entity tag gets a 200."""
    async with hub.ask("GET", "/hub.js", headers={"If-None-Match": '"older"'}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/inbox.js", "export class InboxList"),
        ("/hub-inbox.js", 'customElements.define("hub-inbox"'),
        *((f"/hub-inbox/{name}", "export ") for name in ELEMENT_PARTS),
    ],
)
async def test_modules_of_the_inbox(hub: Hub, path: str, part: str) -> None:
    """The list of an inbox and the web component are served like the client."""
    async with hub.ask("GET", path, headers={"Accept-Encoding": "identity"}) as response:
        assert (response.status, response.content_type) == (200, "text/javascript")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert part in await response.text()
        tag = response.headers["ETag"]
    async with hub.ask("GET", path, headers={"If-None-Match": tag}) as again:
        assert again.status == 304


async def test_unknown_part_of_the_component(hub: Hub) -> None:
    """A name that is no file is a 404."""
    async with hub.ask("GET", "/hub-inbox/none.js") as response:
        assert (response.status, (await response.json())["code"]) == (404, "file_not_found")
