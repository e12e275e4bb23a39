"""The metrics of processes that share one port (`hub serve --workers N`).

A scraper reaches any of them, so each tells the others its numbers over a unix socket in a folder
of theirs, and whoever is asked answers for all. One that cannot be asked, or is of a version that
speaks otherwise, is left out.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from aiohttp import web

from hub.core.metrics import MetricFamily
from hub.http.server import ListenAddress, listen
from hub.metrics import render_prometheus

_REQUEST_TIMEOUT_SECONDS: Final = 1.0


class PeerSnapshot(msgspec.Struct, frozen=True):
    name: str
    families: Sequence[MetricFamily]


class PeerMetrics:
    """folder: where their sockets are; None for a process that is alone."""

    def __init__(
        self, folder: Path | None, name: str, families: Callable[[], Sequence[MetricFamily]]
    ) -> None:
        self._folder = folder
        self._name = name
        self._families = families
        self._file = f"{secrets.token_hex(8)}.sock"  # a node's name may be long, its path may not

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Tells the others, inside the block."""
        if self._folder is None:
            yield
            return
        app = web.Application()
        app.add_routes([web.get("/", self._tell)])
        place = ListenAddress("", 0, "node.metrics_dir", path=str(self._folder / self._file))
        try:
            async with listen(app, place, cancel_handlers=True):
                yield
        finally:
            (self._folder / self._file).unlink(missing_ok=True)

    async def collect(self) -> bytes:
        """Prometheus' text for all."""
        found = {self._name: self._families()}
        if self._folder is not None:
            others = [path for path in self._folder.glob("*.sock") if path.name != self._file]
            for said in await asyncio.gather(*map(_ask, others)):
                if said is not None:
                    found[said.name] = said.families
        return render_prometheus(found, label_processes=self._folder is not None)

    async def _tell(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(PeerSnapshot(self._name, self._families())))


async def _ask(socket: Path) -> PeerSnapshot | None:
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(socket)),
                timeout=aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_SECONDS),
            ) as session,
            session.get("http://sibling/") as response,
        ):
            return msgspec.json.decode(await response.read(), type=PeerSnapshot)
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError):
        return None
