"""Files of the pages: compression and caching."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from hub.http.static_files import StaticFiles, accepts_gzip
from tests.http.kit import Hub, running_hub


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node without authentication."""
    async with running_hub() as hub:
        yield hub


@pytest.mark.parametrize("path", ["/", "/demo/demo.css", "/vendor/marked.js", "/hub.js"])
async def test_files_are_compressed_for_clients_that_accept_it(hub: Hub, path: str) -> None:
    """The encodings have the same content, and entity tags of their own; either gets a 304."""
    tags, bodies = [], []
    for accepted in ("identity", "gzip, br"):
        headers = {"Accept-Encoding": accepted}
        async with hub.ask("GET", path, headers=headers, auto_decompress=False) as response:
            assert (response.status, response.headers["Vary"]) == (200, "Accept-Encoding")
            tags.append(response.headers["ETag"])
            bodies.append(await response.read())
            assert response.headers.get("Content-Encoding") == (
                "gzip" if accepted != "identity" else None
            )
    assert gzip.decompress(bodies[1]) == bodies[0]
    assert len(bodies[1]) < len(bodies[0]) / 2
    assert tags[0] != tags[1]
    for tag in tags:
        async with hub.ask("GET", path, headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.read()) == (304, b"")


@pytest.mark.parametrize(
    ("accepted", "is_accepted"),
    [
        *(("", False), ("gzip", True), ("GZIP", True), ("br, gzip;q=0.5", True), ("*", True)),
        *(("gzip;q=0", False), ("gzip; q=0.000, br", False), ("xgzip", False), ("br", False)),
    ],
)
def test_accept_encoding(accepted: str, is_accepted: bool) -> None:
    """A weight of zero refuses an encoding; no header accepts only the plain file."""
    assert accepts_gzip(accepted) is is_accepted


def test_files_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Applications of one process share the files; what one replaces the others keep."""
    request = make_mocked_request("GET", "/")
    first = StaticFiles("demo")
    read: list[Path] = []
    monkeypatch.setattr(Path, "read_bytes", read.append)
    second = StaticFiles("demo")
    assert read == []
    before = first.response(request, "demo.html").body
    second.replace("demo.html", b"<html", b"<HTML")
    assert first.response(request, "demo.html").body == before
    assert second.response(request, "demo.html").body != before


async def test_streams_are_never_compressed(hub: Hub) -> None:
    """A client that accepts gzip gets a plain stream: a compressor would hold events back."""
    headers = {"Accept-Encoding": "gzip"}
    async with hub.ask("GET", "/sse/connect/alice", headers=headers) as response:
        assert "Content-Encoding" not in response.headers
