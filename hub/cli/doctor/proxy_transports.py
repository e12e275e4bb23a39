"""Checks of WebSocket and long polling through the proxy."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import aiohttp
import msgspec
from aiohttp import WSMsgType, WSServerHandshakeError

from hub.cli.doctor.probe import CheckResult, ProbeTarget, fail, ok, warn
from hub.cli.doctor.proxy_stream import DISABLE_BUFFERING, RAISE_READ_TIMEOUT

_FORWARD_UPGRADE: Final = (
    "set proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    "proxy_set_header Connection $connection_upgrade; (config/nginx.conf has the map)"
)
_WEBSOCKET: Final = "websocket"
_POLL: Final = "long poll"
_MAX_POLL_SECONDS: Final = 25.0
_MIN_APPLICATION_CLOSE_CODE: Final = 3000  # RFC 6455, section 7.4.2
_CLOSE_MESSAGES: Final = (
    WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR,
)  # fmt: skip


async def check_websocket(session: aiohttp.ClientSession, target: ProbeTarget) -> list[CheckResult]:
    """Check the upgrade and the heartbeats. A problem is a warning: clients can use SSE instead."""
    end_at = time.monotonic() + target.seconds
    try:
        async with asyncio.timeout(target.timeout_seconds):
            websocket = await session.ws_connect(target.connect_url("ws"), autoping=False)
    except WSServerHandshakeError as error:
        if error.status == 426:
            message = (
                "the upgrade does not reach the node: the proxy removes the headers Upgrade and "
                "Connection"
            )
            return [warn(_WEBSOCKET, message, _FORWARD_UPGRADE)]
        message = f"the response to the upgrade has status {error.status}"
        return [warn(_WEBSOCKET, message, _FORWARD_UPGRADE)]
    except (aiohttp.ClientError, TimeoutError) as error:
        message = f"the upgrade gets no response {error}".strip()
        return [warn(_WEBSOCKET, message, _FORWARD_UPGRADE)]
    async with websocket:
        return [await _watch_websocket(websocket, target, end_at)]


async def _watch_websocket(
    websocket: aiohttp.ClientWebSocketResponse, target: ProbeTarget, end_at: float
) -> CheckResult:
    received_event, pings, opened_at = False, 0, time.monotonic()
    while (now := time.monotonic()) < end_at:
        timeout_seconds = end_at - now if received_event else target.timeout_seconds
        try:
            message = await websocket.receive(timeout=timeout_seconds)
        except TimeoutError:
            break
        if message.type in _CLOSE_MESSAGES:
            return _explain_close(websocket.close_code, time.monotonic() - opened_at)
        received_event = received_event or message.type is WSMsgType.TEXT
        if message.type is WSMsgType.PING:
            pings += 1
            await websocket.pong(message.data)
    if not received_event:
        text = f"the proxy buffers the messages: no event within {target.timeout_seconds:g} s"
        return warn(_WEBSOCKET, text, DISABLE_BUFFERING)
    return ok(_WEBSOCKET, f"the connection works, and {pings} heartbeats arrived")


def _explain_close(close_code: int | None, open_seconds: float) -> CheckResult:
    if close_code is not None and close_code >= _MIN_APPLICATION_CLOSE_CODE:
        message = f"the hub closed the connection itself ({close_code})"
        return warn(_WEBSOCKET, message, "try again when the node is not draining or full")
    message = f"the connection was cut off after {open_seconds:.1f} s"
    return warn(_WEBSOCKET, message, RAISE_READ_TIMEOUT)


class _PolledEvent(msgspec.Struct):
    event: str


class _PollResponse(msgspec.Struct):
    events: list[_PolledEvent]
    cursor: str


async def check_poll(session: aiohttp.ClientSession, target: ProbeTarget) -> list[CheckResult]:
    """Check that a poll may wait as long as it asks for. An event ends a poll; then poll again."""
    wait_seconds = min(_MAX_POLL_SECONDS, target.seconds)
    end_at, cursor, longest_seconds = time.monotonic() + 2 * wait_seconds, "live", 0.0
    while longest_seconds < wait_seconds - 1 and time.monotonic() < end_at:
        started_at = time.monotonic()
        response = await _poll(session, target, cursor, wait_seconds)
        if isinstance(response, CheckResult):
            return [response]
        if any(event.event == "hub.bye" for event in response.events):
            message, advice = "the hub ended the poll itself", "try again when it is not draining"
            return [warn(_POLL, message, advice)]
        longest_seconds = max(longest_seconds, time.monotonic() - started_at)
        cursor = response.cursor
        if not response.events:
            break
    if longest_seconds < wait_seconds - 1:
        message = f"the longest poll took {longest_seconds:.1f} s of {wait_seconds:g} s"
        advice = "try again with the token of a user who receives no events"
        return [warn(_POLL, message, advice)]
    return [ok(_POLL, f"a poll can wait for {wait_seconds:g} s")]


async def _poll(
    session: aiohttp.ClientSession, target: ProbeTarget, cursor: str, wait_seconds: float
) -> _PollResponse | CheckResult:
    parameters, started_at = {"wait": f"{wait_seconds:.3f}", "cursor": cursor}, time.monotonic()
    url, headers = target.connect_url("poll"), {"Accept-Encoding": "identity"}
    try:
        async with asyncio.timeout(wait_seconds + target.timeout_seconds):
            async with session.get(url, params=parameters, headers=headers) as response:
                body, status = await response.read(), response.status
        if status == 200:
            return msgspec.json.decode(body, type=_PollResponse)
        problem = f"the poll got status {status}"
    except TimeoutError:
        message = f"no response {target.timeout_seconds:g} s after the end of the wait"
        return fail(_POLL, message, "check the error log of the proxy")
    except msgspec.DecodeError:
        problem = "the poll got a response that is not a hub's"
    except aiohttp.ClientError:
        problem = "the poll was cut off"
    message = f"{problem} after {time.monotonic() - started_at:.1f} s of {wait_seconds:.0f} s"
    return fail(
        _POLL, message, "set proxy_read_timeout 60s; (longer than the wait, 25 s by default)"
    )
