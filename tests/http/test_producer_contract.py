"""The suite of external producers over HTTP: posts are JSON arrays or newline-delimited JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hub.core.sse_decoder import SseDecoder
from tests.api.producer_contract import (
    PartStream,
    ProducerContract,
    ProducerForm,
    Refused,
    Signals,
    StreamingContract,
    StreamingForm,
)
from tests.http.kit import Hub

_NDJSON = {"Content-Type": "application/x-ndjson"}


class HttpForm(ProducerForm):
    """The routes, with JSON arrays as posts."""

    is_whole = True

    async def start(self, **fields: Any) -> dict[str, Any]:
        user, topic = fields.pop("user", "alice"), fields.pop("topic", None)
        to = {"user": user, "topic": topic}
        return await self._call("POST", "/generations", json={
            "to": {name: value for name, value in to.items() if value is not None},
            "producer": "external", **fields,
        })  # fmt: skip

    async def post(self, generation: str, lease: str, parts: Sequence[Any]) -> dict[str, Any]:
        body = b"[" + b",".join(encode(part) for part in parts) + b"]"
        headers = {"Content-Type": "application/json"}
        return await self._call("POST", _parts(generation), lease, data=body, headers=headers)

    async def claim(self, **fields: Any) -> list[dict[str, Any]]:
        body = {"queue": "support", "wait_seconds": 0, **fields}
        jobs: list[dict[str, Any]] = (await self._call("POST", "/jobs/claim", json=body))["jobs"]
        return jobs

    async def release(self, generation: str, lease: str) -> None:
        await self._call("DELETE", f"/generations/{generation}/lease", lease)

    @asynccontextmanager
    async def control(self, generation: str, lease: str) -> AsyncIterator[Signals]:
        path, headers = f"/generations/{generation}/control", self.headers(lease)
        async with self.hub.ask("GET", path, internal=True, headers=headers) as response:
            if response.status != 200:
                _raise_for(await response.json())
            yield _signals(response.content)

    async def _call(self, method: str, path: str, lease: str = "", **more: Any) -> dict[str, Any]:
        headers = {**self.headers(lease), **more.pop("headers", {})}
        async with self.hub.ask(method, path, internal=True, headers=headers, **more) as response:
            document = await response.json() if response.status != 204 else {}
            if response.status >= 400:
                _raise_for(document)
            return dict(document)

    def headers(self, lease: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", **({"Hub-Lease": lease} if lease else {})}


class NdjsonForm(HttpForm, StreamingForm):
    """The routes, with newline-delimited JSON as posts."""

    is_whole = False

    async def post(self, generation: str, lease: str, parts: Sequence[Any]) -> dict[str, Any]:
        body = b"".join(encode(part) + b"\n" for part in parts)
        return await self._call("POST", _parts(generation), lease, data=body, headers=_NDJSON)

    @asynccontextmanager
    async def stream(self, generation: str, lease: str) -> AsyncIterator[PartStream]:
        lines = asyncio.Queue[bytes]()
        call = self._call(
            "POST", _parts(generation), lease, data=_until_empty(lines), headers=_NDJSON
        )
        posting = asyncio.create_task(call)
        try:
            yield Lines(lines, posting)
        finally:
            lines.put_nowait(b"")
            await posting


class Lines(PartStream):
    """A request that goes on."""

    def __init__(self, lines: asyncio.Queue[bytes], posting: asyncio.Task[dict[str, Any]]) -> None:
        self._lines = lines
        self._posting = posting

    async def send(self, *parts: Any) -> None:
        for part in parts:
            self._lines.put_nowait(encode(part) + b"\n")

    async def finish(self) -> dict[str, Any]:
        self._lines.put_nowait(b"")
        return await self._posting

    async def wait_answer(self) -> dict[str, Any]:
        return await self._posting


def encode(part: Any) -> bytes:
    return part if isinstance(part, bytes) else json.dumps(part).encode()


async def _until_empty(lines: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    while line := await lines.get():
        yield line


async def _signals(content: Any) -> Signals:
    decoder = SseDecoder()
    async for chunk in content.iter_any():
        for event in decoder.feed(chunk):
            yield event.name, json.loads(event.data)


def _parts(generation: str) -> str:
    return f"/generations/{generation}/parts"


def _raise_for(problem: dict[str, Any]) -> None:
    names = ("path", "generation", "expected")
    raise Refused(problem["code"], **{name: problem.get(name) for name in names})


class TestArrays(ProducerContract):
    @pytest.fixture
    def form(self, hub: Hub) -> HttpForm:
        return HttpForm(hub)


class TestLines(StreamingContract):
    @pytest.fixture
    def form(self, hub: Hub) -> NdjsonForm:
        return NdjsonForm(hub)
