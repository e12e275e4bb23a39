"""Connections to upstreams, whose answers come in many small chunks.

When a chunk is read, aiohttp 3.14 resumes the connection, whether it was paused or not: it calls
its parser and the event loop without effect. Here only a connection that was paused is resumed.
"""

from __future__ import annotations

from functools import partial

import aiohttp
from aiohttp.client_proto import ResponseHandler


class UpstreamConnector(aiohttp.TCPConnector):
    """A connector for any number of connections."""

    def __init__(self) -> None:
        super().__init__(limit=0)
        handler: type[ResponseHandler] = _ResponseHandler
        self._factory = partial(handler, loop=self._loop)


class _ResponseHandler(ResponseHandler):
    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:
            super().resume_reading(resume_parser)
