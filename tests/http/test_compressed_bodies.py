"""Bodies with a Content-Encoding: what is not complete is a 400, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

from hub.http.routes.publish import NDJSON
from tests.http.kit import Hub, running_hub

PARTS: Final = "/generations/{}/parts"
PUBLISH: Final = {"to": {"user": "a"}, "data": 1}
LINE: Final = json.dumps(PUBLISH).encode() + b"\n"
TRUNCATED: Final = "the body is truncated, or not what its Content-Encoding"


def raw_deflate(body: bytes) -> bytes:
    """Compress without the header of zlib, as some clients do for `deflate`."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


CODINGS: Final[dict[str, tuple[str, Callable[[bytes], bytes], int]]] = {
    "gzip": ("gzip", gzip.compress, 1),
    "deflate": ("deflate", zlib.compress, 1),
    "raw deflate": ("deflate", raw_deflate, 1),
    "half of gzip": ("gzip", gzip.compress, 0),
    "half of deflate": ("deflate", zlib.compress, 0),
}
"""Name: the coding, its function, and whether the cut leaves the whole content readable."""


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node that needs no keys."""
    async with running_hub() as running:
        yield running


@pytest.fixture(params=CODINGS)
def cut(request: pytest.FixtureRequest) -> tuple[str, Callable[[bytes], bytes]]:
    """A coding, and a function that compresses a body and cuts its end off."""
    coding, compress, keep = CODINGS[request.param]

    def compress_and_cut(body: bytes) -> bytes:
        data = compress(body)
        return data[:-1] if keep else data[: len(data) // 2]

    return coding, compress_and_cut


async def send(hub: Hub, path: str, coding: str, data: Any, **headers: str) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding, **headers}
    return await hub.call("POST", path, internal=True, headers=headers, data=data)


async def events_of(hub: Hub, user: str) -> list[Any]:
    _, stored = await hub.call("GET", f"/users/{user}/events?limit=1000", internal=True)
    return list(stored["events"])


async def begin(hub: Hub) -> tuple[str, str]:
    """Begin an answer of an external producer, and return its id and lease."""
    body = {"to": {"user": "a"}, "producer": "external"}
    _, started = await hub.call("POST", "/generations", internal=True, json=body)
    return started["generation"], started["lease"]


async def test_truncated_json_is_refused(
    hub: Hub, cut: tuple[str, Callable[[bytes], bytes]]
) -> None:
    """A JSON body whose compression does not end is a 400 on every route, and changes nothing."""
    coding, compress = cut
    generation, lease = await begin(hub)
    before = len(await events_of(hub, "a"))
    for path, body in (
        ("/publish", PUBLISH),
        ("/publish/batch", [PUBLISH]),
        ("/generations", {"to": {"user": "a"}, "producer": "external"}),
        (PARTS.format(generation), [{"seq": 0, "type": "text", "text": "x"}]),
    ):
        data = compress(json.dumps(body).encode())
        status, problem = await send(hub, path, coding, data, **{"Hub-Lease": lease})
        assert (status, problem["code"]) == (400, "invalid_request"), path
        assert problem["detail"].startswith(TRUNCATED)
    assert len(await events_of(hub, "a")) == before


async def test_truncated_lines_of_a_batch(
    hub: Hub, cut: tuple[str, Callable[[bytes], bytes]]
) -> None:
    """Lines that were complete have their results, and the last line of the response is a 400; a
    response that has not begun is a 400 as a whole.
    """
    coding, compress = cut
    headers = {"Content-Type": NDJSON[0], "Content-Encoding": coding}
    data = compress(b"".join(b'{"to":{"user":"b"},"data":%d}\n' % n for n in range(900)))
    sent = hub.ask("POST", "/publish/batch", internal=True, headers=headers, data=data)
    async with sent as response:
        text = await response.text()
    *results, last = [json.loads(line) for line in text.splitlines()]
    if response.status == 200:
        assert last["status"] == 400
        assert last["detail"].startswith(TRUNCATED)
        assert all("published" in result for result in results)
    else:
        assert response.status == 400
    assert len(await events_of(hub, "b")) == len(results)


@pytest.mark.parametrize("first_line", [True, False])
async def test_results_before_the_fault_arrive(hub: Hub, first_line: bool) -> None:
    """A line that was published has its result also when the compression breaks off after it."""
    published = asyncio.Event()
    compressor = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)

    async def lines() -> AsyncIterator[bytes]:
        if first_line:
            yield compressor.compress(LINE) + compressor.flush(zlib.Z_SYNC_FLUSH)
            await published.wait()
        yield compressor.compress(b"x") + compressor.flush()[:-9]

    headers = {"Content-Type": NDJSON[0], "Content-Encoding": "gzip"}
    sent = hub.ask("POST", "/publish/batch", internal=True, headers=headers, data=lines())
    async with sent as response:
        if first_line:
            assert response.status == 200
            assert b"published" in await response.content.readline()
            published.set()
            problem = json.loads(await response.content.readline())
            assert not await response.content.read()
        else:
            assert response.status == 400
            problem = await response.json(content_type=None)
    assert problem["status"] == 400
    assert problem["detail"].startswith(TRUNCATED)


async def test_parts_before_the_fault_are_published(
    hub: Hub, cut: tuple[str, Callable[[bytes], bytes]]
) -> None:
    """A truncated stream of parts is a 400; what arrived before is acknowledged by the next."""
    coding, compress = cut
    generation, lease = await begin(hub)
    lines = [{"seq": n, "type": "text", "text": "word "} for n in range(900)]
    data = compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    headers = {"Hub-Lease": lease, "Content-Type": NDJSON[0]}
    status, problem = await send(hub, PARTS.format(generation), coding, data, **headers)
    assert (status, problem["code"]) == (400, "invalid_request")
    assert problem["detail"].startswith(TRUNCATED)
    path, headers = PARTS.format(generation), {"Hub-Lease": lease}
    _, posted = await hub.call("POST", path, internal=True, headers=headers, json=[])
    _, record = await hub.call("GET", f"/generations/{generation}?user=a")
    assert record["text"] == "word " * (posted["ack"] + 1)
    assert posted["ack"] > 100
    rest = [*lines[posted["ack"] + 1 :], {"seq": 900, "type": "end"}]
    status, posted = await hub.call("POST", path, internal=True, headers=headers, json=rest)
    assert (status, posted["ack"]) == (200, 900)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, raw_deflate])
async def test_complete_bodies_are_read(hub: Hub, compress: Callable[[bytes], bytes]) -> None:
    """Bodies in any chunks, in several members of gzip, and much larger than compressed."""
    coding = "gzip" if compress is gzip.compress else "deflate"
    padding = {**PUBLISH, "data": "x" * 30_000}
    data = compress(json.dumps(padding).encode())

    async def chunks() -> AsyncIterator[bytes]:
        for n in range(len(data)):
            yield data[n : n + 1]

    assert (await send(hub, "/publish", coding, chunks()))[0] == 200
    if coding == "gzip":
        text = json.dumps(padding).encode()
        members = gzip.compress(text[:9]) + gzip.compress(b"") + gzip.compress(text[9:])
        assert (await send(hub, "/publish", coding, members))[0] == 200
    assert (await send(hub, "/publish", coding, data + b"\x00rest"))[0] == 400


async def test_bomb_is_refused(hub: Hub) -> None:
    """A small body that is large when it is decoded is a 413."""
    data = gzip.compress(bytes(50_000_000))
    assert len(data) < 60_000
    assert (await send(hub, "/publish", "gzip", data))[0] == 413
