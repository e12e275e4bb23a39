"""WebSocket and long polling through the proxy."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import aiohttp
import msgspec
from aiohttp import WSMsgType, WSServerHandshakeError

from hub.cli.doctor.proxy_stream import NO_BUFFERING, NO_TIMEOUT
from hub.cli.doctor.result import CheckResult, fail, ok, warn
from hub.cli.doctor.target import ProbeTarget

_UPGRADE: Final = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    "proxy_set_header Connection $connection_upgrade; (config/nginx.conf has the map)"
)
_MOST_WAIT_SECONDS: Final = 25.0
_POLL: Final = "long poll"
_ENDED: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


async def check_websocket(session: aiohttp.ClientSession, visit: ProbeTarget) -> list[CheckResult]:
    """A warning where it does not come through: clients have other ways."""
    check, until = "websocket", time.monotonic() + visit.seconds
    try:
        async with asyncio.timeout(visit.timeout_seconds):
            socket = await session.ws_connect(visit.route("ws"), autoping=False)
    except WSServerHandshakeError as error:
        if error.status == 426:
            found = "the upgrade does not reach the node: it was asked without Upgrade and "
            return [warn(check, f"{found}Connection headers", _UPGRADE)]
        return [warn(check, f"the upgrade is answered {error.status}", _UPGRADE)]
    except (aiohttp.ClientError, TimeoutError) as error:
        return [warn(check, f"the upgrade is not answered {error}".strip(), _UPGRADE)]
    async with socket:
        opened, pings, begun = False, 0, time.monotonic()
        while (now := time.monotonic()) < until:
            most = until - now if opened else visit.timeout_seconds
            try:
                message = await socket.receive(timeout=most)
            except TimeoutError:
                break
            if message.type in _ENDED:
                if socket.close_code is not None and socket.close_code >= 3000:
                    found = f"the hub ended it itself ({socket.close_code})"
                    return [warn(check, found, "look again when the node is not draining or full")]
                found = f"cut off after {time.monotonic() - begun:.1f} s"
                return [warn(check, found, NO_TIMEOUT)]
            opened = opened or message.type is WSMsgType.TEXT
            if message.type is WSMsgType.PING:
                pings += 1
                await socket.pong(message.data)
    if not opened:
        return [
            warn(check, f"held back: no event within {visit.timeout_seconds:g} s", NO_BUFFERING)
        ]
    return [ok(check, f"it comes through, with {pings} heartbeats")]


class _Event(msgspec.Struct):
    event: str


class _Polled(msgspec.Struct):
    events: list[_Event]
    cursor: str


async def check_poll(session: aiohttp.ClientSession, visit: ProbeTarget) -> list[CheckResult]:
    """Whether a poll may wait as long as it asks to; one that events end is followed by another."""
    wait = min(_MOST_WAIT_SECONDS, visit.seconds)
    until, cursor, longest = time.monotonic() + 2 * wait, "live", 0.0
    while longest < wait - 1 and time.monotonic() < until:
        begun = time.monotonic()
        answer = await _poll(session, visit, cursor, wait)
        if isinstance(answer, CheckResult):
            return [answer]
        if any(event.event == "hub.bye" for event in answer.events):
            found, advice = "the hub ended it itself", "look again when the node is not draining"
            return [warn(_POLL, found, advice)]
        longest, cursor = max(longest, time.monotonic() - begun), answer.cursor
        if not answer.events:
            break
    if longest < wait - 1:
        found = f"the longest lasted {longest:.1f} s of a wait of {wait:g} s"
        advice = "look again as a user to whom nothing is sent"
        return [warn(_POLL, found, advice)]
    return [ok(_POLL, f"it waits for {wait:g} s")]


async def _poll(
    session: aiohttp.ClientSession, visit: ProbeTarget, cursor: str, wait: float
) -> _Polled | CheckResult:
    query, begun = {"wait": f"{wait:.3f}", "cursor": cursor}, time.monotonic()
    plain = {"Accept-Encoding": "identity"}
    try:
        async with asyncio.timeout(wait + visit.timeout_seconds):
            async with session.get(visit.route("poll"), params=query, headers=plain) as response:
                body, status = await response.read(), response.status
        if status == 200:
            return msgspec.json.decode(body, type=_Polled)
        ended = f"answered {status}"
    except TimeoutError:
        found = f"no answer {visit.timeout_seconds:g} s after the wait was over"
        return fail(_POLL, found, "look into the proxy's error log")
    except msgspec.DecodeError:
        ended = "answered as no hub does"
    except aiohttp.ClientError:
        ended = "cut off"
    found = f"{ended} after {time.monotonic() - begun:.1f} s of a wait of {wait:.0f} s"
    return fail(_POLL, found, "proxy_read_timeout 60s; (longer than the wait, 25 s by default)")
