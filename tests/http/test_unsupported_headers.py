"""Headers that ask for what the hub does not do, on every route of both listeners."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from hub.http.static_files import TYPES
from tests.described import described_operations
from tests.http.kit import Hub, running_hub

JSON: Final = {"Content-Type": "application/json"}
TAGS: Final = ['"x"', 'W/"x"', '"a", "b"', "x", ""]
CODINGS: Final = [
    *("br", "zstd", "compress", "x-gzip", "aes128gcm", "gzip, gzip", "gzip, br", "identity, gzip"),
    *("none", "utf-8", "*", "GZIP2"),
]
IGNORED: Final = {
    "If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT",
    "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT",
    "If-Range": '"x"',
    "Accept-Encoding": "br, zstd",
    "TE": "trailers",
    "Prefer": "respond-async",
}


def requests() -> Iterator[tuple[bool, str, str, bool]]:
    """Yield every operation: whether it is internal, its method and path, and whether it serves a
    file.
    """
    for listener in ("public", "internal"):
        for method, path, operation in described_operations(listener):
            content = operation["responses"].get("200", {}).get("content", {})
            is_file = bool(set(TYPES.values()) & set(content))
            folder = path.split("/")[1]
            names = {"vendor": "marked.js", "hub-inbox": "labels.js"}
            name = names.get(folder, f"{folder}.css")  # of a file in it
            filled = re.sub(r"\{[^}]*\}", "x", path.replace("{name}", name))
            yield listener == "internal", method, f"{filled}?user=x", is_file


ROUTES: Final = list(requests())
CHANGING: Final = [each for each in ROUTES if each[1] != "GET"]
READING: Final = [each for each in ROUTES if each[1] == "GET"]


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a node that needs no tokens."""
    async with running_hub() as hub:
        yield hub


async def status_of(hub: Hub, route: tuple[bool, str, str, bool], **request: Any) -> int:
    """Return the status, without waiting for the end of a stream."""
    internal, method, path, _ = route
    async with hub.ask(method, path, internal=internal, **request) as response:
        status: int = response.status
        if status in (412, 415, 416, 417):
            document = await response.json(content_type=None)
            error = document.get("error", document)  # the form of /v1
            assert error["code"] != "invalid_request"
            assert re.fullmatch(r"[^.\n]+", error.get("detail") or error["message"])
        return status


def test_routes_are_all() -> None:
    """Both listeners have routes of every kind."""
    assert len(CHANGING) > 10
    assert len(READING) > 20
    assert any(is_file for *_, is_file in ROUTES)


@pytest.mark.parametrize("tag", TAGS)
async def test_entity_tag_that_no_resource_has(hub: Hub, tag: str) -> None:
    """A request that shall only be served for a certain version is refused."""
    for route in ROUTES:
        assert await status_of(hub, route, headers={"If-Match": tag}) == 412, route
    for route in CHANGING:
        assert await status_of(hub, route, headers={"If-None-Match": tag}) == 412, route


async def test_any_entity_tag(hub: Hub) -> None:
    """`*` is true for what can be read, and unknown for what changes something."""
    for route in ROUTES:
        is_refused = route[1] != "GET"
        for name in ("If-Match", "If-None-Match"):
            status = await status_of(hub, route, headers={name: "*"})
            assert (status == 412) == is_refused, (name, route)


async def test_entity_tag_of_the_javascript_client(hub: Hub) -> None:
    """The tag of a file is compared strongly."""
    async with hub.ask("GET", "/hub.js") as response:
        tag = response.headers["ETag"]
    for given, status in ((tag, 200), (f'"x", {tag}', 200), (f"W/{tag}", 412), ('"x"', 412)):
        async with hub.ask("GET", "/hub.js", headers={"If-Match": given}) as response:
            assert response.status == status, given


@pytest.mark.parametrize("value", ["bytes=0-5", "bytes=100-", "bytes=-5", "Bytes=0-0,2-3"])
async def test_range(hub: Hub, value: str) -> None:
    """Streams and JSON have no parts; files are sent whole, and other methods ignore Range."""
    for internal, method, path, is_file in ROUTES:
        async with hub.ask(method, path, internal=internal, headers={"Range": value}) as response:
            assert (response.status == 416) == (method == "GET" and not is_file), path
            if response.status == 416:
                assert response.headers["Accept-Ranges"] == "none"
            assert response.status != 206


@pytest.mark.parametrize("coding", CODINGS)
async def test_content_coding(hub: Hub, coding: str) -> None:
    """A body that the hub cannot decode is 415, and the response names what it decodes."""
    for internal, method, path, _ in CHANGING:
        headers = {**JSON, "Content-Encoding": coding}
        sent = hub.ask(method, path, internal=internal, headers=headers, data=b"{}")
        async with sent as response:
            assert response.status == 415, path
            assert response.headers["Accept-Encoding"] == "gzip, deflate"
            assert "unsupported_content_encoding" in await response.text()


async def test_compressed_body(hub: Hub) -> None:
    """gzip and deflate are decoded."""
    body = b'{"to":{"user":"alice"}}'
    for coding, data in (
        ("gzip", gzip.compress(body)),
        ("GZIP", gzip.compress(body)),
        ("deflate", zlib.compress(body)),
        ("identity", body),
    ):
        headers = {**JSON, "Content-Encoding": coding}
        status, _ = await hub.call("POST", "/publish", internal=True, headers=headers, data=data)
        assert status == 200, coding


@pytest.mark.parametrize(
    "data",
    [b"{}", gzip.compress(b"{" * 999)[:-9], b"\x1f\x8b"],
    ids=["plain", "cut short", "a beginning"],
)
async def test_body_that_is_not_compressed(hub: Hub, data: bytes) -> None:
    """A body that is not what Content-Encoding says is the client's mistake: a 4xx, and no log."""
    with capture_logs() as logs:
        for coding in ("gzip", "deflate"):
            for route in CHANGING:
                headers = {**JSON, "Content-Encoding": coding, "Connection": "close"}
                status = await status_of(hub, route, headers=headers, data=data)
                assert status < 500, route
    assert not [each for each in logs if each["log_level"] in ("error", "critical")]


async def test_part_of_a_body(hub: Hub) -> None:
    """No route takes a part of a body."""
    for route in CHANGING:
        headers = {**JSON, "Content-Range": "bytes 0-1/9"}
        assert await status_of(hub, route, headers=headers, data=b"{}") == 400, route


@pytest.mark.parametrize("name", IGNORED)
async def test_ignored_headers(hub: Hub, name: str) -> None:
    """Headers that a server may or must ignore change nothing."""
    for route in ROUTES:
        expected = await status_of(hub, route)
        assert await status_of(hub, route, headers={name: IGNORED[name]}) == expected, route
