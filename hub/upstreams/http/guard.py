"""An HTTP endpoint of the application as a guard.

Each check is a POST of the window as JSON (hub.guard.Window). The answer is a verdict as JSON, such
as `{"verdict": "replace", "text": "…"}`; 204 and 200 without a body pass the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp
import msgspec

from hub.core.verdicts import GuardContext, Pass, TextWindow, Verdict
from hub.errors import GuardFailed
from hub.guard import Window
from hub.ports.guards import GuardSession

_MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
_PASSING_STATUSES: Final = frozenset({502, 503, 504})  # those of a proxy during a restart
_HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json"}
_decoder: Final[msgspec.json.Decoder[Verdict]] = msgspec.json.Decoder(Verdict)


class HttpGuard:
    """Implements ports.guards.Guard. headers: of every request. proxy: the URL of an HTTP proxy."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str] = {},
        *,
        proxy: str | None = None,
    ) -> None:
        self._session = session
        self._url = url
        self._proxy = proxy
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            **headers,
        }

    def open(self, context: GuardContext) -> GuardSession:
        """See ports.guards.Guard."""
        return _HttpGuardSession(self, context)

    async def check(self, window: Window) -> Verdict:
        """Ask the endpoint, a second time if the connection or a proxy fails. Raise GuardFailed."""
        body = msgspec.json.encode(window)
        for is_last in (False, True):
            try:
                status, content = await self._post(body)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                may_pass = isinstance(error, aiohttp.ClientConnectionError)
                failure = GuardFailed(f"the guard cannot be asked: {type(error).__name__}")
            else:
                if status in (200, 204):
                    return _read_verdict(content)
                may_pass = status in _PASSING_STATUSES
                failure = GuardFailed(f"the guard answered with the status {status}")
            if is_last or not may_pass:
                raise failure
        raise AssertionError("the last request returns or raises")

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        async with self._session.post(
            self._url,
            data=body,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None),  # the deadline is that of the check
            allow_redirects=False,
            proxy=self._proxy,
        ) as response:
            return response.status, await _read_body(response)


class _HttpGuardSession:
    """The checks of one answer."""

    def __init__(self, guard: HttpGuard, context: GuardContext) -> None:
        self._guard = guard
        self._context = context

    async def check(self, window: TextWindow) -> Verdict:
        """See ports.guards.GuardSession."""
        return await self._guard.check(Window.build(self._context, window))

    def close(self) -> None:
        """See ports.guards.GuardSession."""


def _read_verdict(content: bytes) -> Verdict:
    if not content.strip():
        return Pass()
    try:
        return _decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GuardFailed(f"the guard's answer is no verdict: {error}") from error


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MAX_RESPONSE_BYTES:
            raise GuardFailed(f"the guard's answer is larger than {_MAX_RESPONSE_BYTES} bytes")
    return bytes(body)
