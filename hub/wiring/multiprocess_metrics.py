"""The metrics of processes that share one port (`hub serve --workers N`).

A scraper reaches any of these processes, so each one serves its metrics to the others on a unix
socket in a common folder, and the process that is scraped returns the metrics of all. A process
that does not answer, or whose version has another format, is left out.
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
    """Serves and collects the metrics of the processes of one node.

    folder: where the sockets are; None for a single process.
    """

    def __init__(
        self, folder: Path | None, name: str, families: Callable[[], Sequence[MetricFamily]]
    ) -> None:
        self._folder = folder
        self._name = name
        self._families = families
        self._file = f"{secrets.token_hex(8)}.sock"  # the path of a unix socket must be short

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Serve the metrics to the other processes inside the block."""
        if self._folder is None:
            yield
            return
        app = web.Application()
        app.add_routes([web.get("/", self._serve_snapshot)])
        address = ListenAddress("", 0, "node.metrics_dir", path=str(self._folder / self._file))
        try:
            async with listen(app, address, cancel_handlers=True):
                yield
        finally:
            (self._folder / self._file).unlink(missing_ok=True)

    async def collect(self) -> bytes:
        """Return the metrics of all processes in the Prometheus text format."""
        families = {self._name: self._families()}
        if self._folder is not None:
            others = [path for path in self._folder.glob("*.sock") if path.name != self._file]
            for snapshot in await asyncio.gather(*map(_fetch, others)):
                if snapshot is not None:
                    families[snapshot.name] = snapshot.families
        return render_prometheus(families, label_processes=self._folder is not None)

    async def _serve_snapshot(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(PeerSnapshot(self._name, self._families())))


async def _fetch(socket: Path) -> PeerSnapshot | None:
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(socket)),
                timeout=aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_SECONDS),
            ) as session,
            session.get("http://peer/") as response,
        ):
            return msgspec.json.decode(await response.read(), type=PeerSnapshot)
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError):
        return None
