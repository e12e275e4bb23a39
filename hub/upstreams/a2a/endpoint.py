"""The endpoint of an agent: its card, and single requests to it.

Each request is an `HttpUpstream` with a dialect of its own (a2a/request.py), so that timeouts,
framing, odd fields and errors are those of all upstreams.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import aiohttp
import msgspec

from hub.core.generation import GenerationRequest
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part
from hub.errors import UpstreamError
from hub.upstreams.a2a.card import NO_CARD_STATUSES, AgentInterface, card_urls, read_card
from hub.upstreams.a2a.request import FRAMING, AgentCall
from hub.upstreams.dialect import UpstreamRequest
from hub.upstreams.http.client import stream_response
from hub.upstreams.http.endpoint import EndpointOptions
from hub.upstreams.http.upstream import HttpUpstream
from hub.upstreams.reading.error_reports import secret_values

_CARD_SECONDS: Final = 300.0  # how long a card is used before it is read again
_CARD_TIMEOUT_SECONDS: Final = 30.0
_MAX_CARD_BYTES: Final = 1024 * 1024


class AgentEndpoint:
    """Sends requests to one agent.

    body: fields of the parameters of each message. secrets: what no error may show. idle_seconds,
    total_seconds: how long a task may have no news, and how long it may take; infinite without a
    limit.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        options: EndpointOptions,
        *,
        body: Mapping[str, Any],
        max_event_bytes: int,
        on_odd_fields: Callable[[int], None],
    ) -> None:
        self._session = session
        self._options = options
        self._max_event_bytes = max_event_bytes
        self._on_odd_fields = on_odd_fields
        self._interface: AgentInterface | None = None
        self._card_read_at = 0.0
        self.body = body
        self.secrets = secret_values(options.headers, options.base_url)
        self.idle_seconds = options.timeouts.idle_seconds or math.inf
        self.total_seconds = options.timeouts.total_seconds or math.inf

    def send(
        self,
        call: AgentCall,
        interface: AgentInterface,
        request: GenerationRequest,
        context: GenerationContext | None,
    ) -> AsyncGenerator[Sequence[Part], None]:
        """Send one request, and yield the parts of the response. Raise UpstreamError."""
        upstream = HttpUpstream(
            self._session,
            call,
            msgspec.structs.replace(self._options, base_url=interface.url),
            max_event_bytes=self._max_event_bytes,
            on_odd_fields=self._on_odd_fields,
        )
        return upstream.stream(request, context)

    async def find_interface(self) -> AgentInterface:
        """Return how the agent is called; the card is read at intervals. Raise UpstreamError."""
        now = asyncio.get_running_loop().time()
        if self._interface is None or now - self._card_read_at > _CARD_SECONDS:
            self._interface = await self._read_card()
            self._card_read_at = now
        return self._interface

    async def _read_card(self) -> AgentInterface:
        """Return what the card says; without a card the configured URL is that of the endpoint."""
        base_url = self._options.base_url
        for url in card_urls(base_url):
            interface = read_card(await self._fetch(url), base_url)
            if interface is not None:
                return interface
        return AgentInterface(url=base_url)

    async def _fetch(self, url: str) -> bytes:
        """Return the response, empty if it is no JSON or missing. Raise UpstreamError."""
        try:
            return await self._fetch_json(url)
        except UpstreamError as error:
            if error.status in NO_CARD_STATUSES or error.code == "upstream_protocol":
                return b""
            raise

    async def _fetch_json(self, url: str) -> bytes:
        options = self._options
        chunks = stream_response(
            self._session,
            url,
            UpstreamRequest(method="GET", body={}),
            headers=options.headers,
            framing=FRAMING,
            secrets=self.secrets,
            timeouts=msgspec.structs.replace(options.timeouts, total_seconds=_CARD_TIMEOUT_SECONDS),
            proxy=options.proxy,
            verify_tls=options.verify_tls,
        )
        data = bytearray()
        async with aclosing(chunks):
            async for chunk in chunks:
                data += chunk
                if len(data) > _MAX_CARD_BYTES:
                    message = f"the agent card exceeds {_MAX_CARD_BYTES} bytes"
                    raise UpstreamError("upstream_too_large", message, retryable=False)
        return bytes(data)
