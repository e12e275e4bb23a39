"""Checks of the event stream through the proxy: does it arrive unchanged and without delay?"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from collections.abc import Iterator
from typing import Any, Final

import aiohttp

from hub.cli.doctor.probe import CheckResult, ProbeTarget, fail, ok, warn
from hub.cli.doctor.proxy_connection import check_headers, check_response
from hub.core.sse_decoder import SseDecoder, StreamTooLarge

DISABLE_BUFFERING: Final = (
    "set proxy_buffering off; and remove proxy_ignore_headers X-Accel-Buffering (Caddy: "
    "flush_interval -1)"
)
RAISE_READ_TIMEOUT: Final = "set proxy_read_timeout 60s; (longer than stream.heartbeat_seconds)"
_MAX_EVENT_DELAY_SECONDS: Final = 0.5
_TEST_EVENTS: Final = 5
_TEST_EVENT_NAME: Final = "doctor.trial"
_HEARTBEAT: Final = re.compile(rb"^:", re.MULTILINE)


async def check_stream(session: aiohttp.ClientSession, target: ProbeTarget) -> list[CheckResult]:
    """Check the event stream. A result of the check `proxy` means that no hub responds at all."""
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate, br, zstd"}
    url, started_at = target.connect_url("sse"), time.monotonic()
    request = session.get(url, headers=headers, allow_redirects=False)
    try:
        async with asyncio.timeout(target.timeout_seconds):
            response = await request
    except TimeoutError:
        return [await _explain_timeout(session, target)]
    except aiohttp.ClientError as error:
        advice = "check that a proxy or a hub listens there, and the error log of the proxy"
        return [fail("proxy", f"{url} gives no HTTP response: {error}", advice)]
    async with response:
        refusal = await check_response(response, target.timeout_seconds)
        if refusal is not None:
            return [refusal]
        header_results = [*check_headers(response)]
        if any((r.check, r.status) == ("compression", "fail") for r in header_results):
            return header_results  # this client does not decompress the events
        watch = _StreamWatch(response, target, started_at)
        return [*header_results, *await watch.run(session)]


async def _explain_timeout(session: aiohttp.ClientSession, target: ProbeTarget) -> CheckResult:
    """Find out whether a buffer or an absent hub is the reason: a poll responds at once."""
    seconds = f"{target.timeout_seconds:g} s"
    try:
        async with asyncio.timeout(2 * target.timeout_seconds):
            async with session.get(target.connect_url("poll"), params={"wait": "0"}) as response:
                await response.read()
                status = response.status
    except (aiohttp.ClientError, TimeoutError):
        message = f"nothing arrived within {seconds}, neither a stream nor a complete response"
        advice = "check that the upstream of the proxy is a running hub"
        return fail("proxy", message, advice)
    message = (
        f"the proxy buffers the stream: nothing of it arrived within {seconds}, while a complete "
        f"response ({status}) arrives at once"
    )
    return fail("stream", message, DISABLE_BUFFERING)


class _StreamWatch:
    """Reads one open stream and records what arrives, and when. Times are of time.monotonic()."""

    def __init__(
        self, response: aiohttp.ClientResponse, target: ProbeTarget, started_at: float
    ) -> None:
        self._response = response
        self._target = target
        self._started_at = started_at  # when the request was sent
        self._end_at = time.monotonic() + target.seconds
        self._decoder = SseDecoder()
        self._open: dict[str, Any] | None = None  # the data of `hub.open`
        self._opened_at = 0.0
        self._last_chunk_at = time.monotonic()
        self._heartbeats = 0
        self._bye: dict[str, Any] | None = None  # the data of `hub.bye`
        self._ended = False
        self._undecodable = False
        self._test_events: dict[int, float] = {}  # when each test event arrived

    async def run(self, session: aiohttp.ClientSession) -> list[CheckResult]:
        """Read until the time is over, and publish test events when the target allows it."""
        await self._read_until(self._timeout_at(), until_open=True)
        delays = list[CheckResult]()
        if self._open is not None and self._target.internal_url is not None:
            delays = await self._check_event_delay(session)
        if self._open is not None:
            await self._read_until(self._end_at)
        return [*self._check_first_event(), *delays, *self._check_heartbeats()]

    async def _read_until(
        self, deadline: float, *, until_open: bool = False, until_test_events: int = 0
    ) -> None:
        """Read until the deadline, the end of the stream, or the arrival of what is named."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                while not self._ended:
                    if until_open and self._open is not None:
                        return
                    if until_test_events and len(self._test_events) >= until_test_events:
                        return
                    self._on_chunk(await self._response.content.readany())
        except TimeoutError:
            pass
        except (aiohttp.ClientError, OSError):
            self._ended = True

    def _timeout_at(self) -> float:
        return time.monotonic() + self._target.timeout_seconds

    def _on_chunk(self, chunk: bytes) -> None:
        if not chunk:
            self._ended = True
            return
        self._last_chunk_at = time.monotonic()
        self._heartbeats += len(_HEARTBEAT.findall(chunk))
        try:
            for event in self._decoder.feed(chunk):
                self._on_event(event.name, event.data)
        except (StreamTooLarge, ValueError):
            self._ended = self._undecodable = True

    def _on_event(self, name: str, data: str) -> None:
        if name == "hub.open":
            self._open, self._opened_at = json.loads(data), self._last_chunk_at
        elif name == "hub.bye":
            self._bye = json.loads(data)
        elif name == _TEST_EVENT_NAME:
            self._test_events.setdefault(json.loads(data)["n"], self._last_chunk_at)

    async def _check_event_delay(self, session: aiohttp.ClientSession) -> list[CheckResult]:
        """Publish test events one at a time, so that none pushes another out of a buffer."""
        check, seconds = "event delay", f"{self._target.timeout_seconds:g} s"
        delays = list[float]()
        for n in range(_TEST_EVENTS):
            sent_at = time.monotonic()
            failure = await self._publish_test_event(session, n)
            if failure is not None:
                return [failure]
            await self._read_until(self._timeout_at(), until_test_events=n + 1)
            if n not in self._test_events:
                message = (
                    f"the proxy buffers the stream: a test event did not arrive within {seconds}"
                )
                return [fail(check, message, DISABLE_BUFFERING)]
            delays.append(self._test_events[n] - sent_at)
        message = f"{_TEST_EVENTS} test events took {statistics.median(delays) * 1000:.0f} ms "
        message += f"(median), {max(delays) * 1000:.0f} ms at most"
        if statistics.median(delays) > _MAX_EVENT_DELAY_SECONDS:
            return [fail(check, f"the proxy delays the stream: {message}", DISABLE_BUFFERING)]
        return [ok(check, message)]

    async def _publish_test_event(
        self, session: aiohttp.ClientSession, n: int
    ) -> CheckResult | None:
        """Return None when the hub accepted the event."""
        target, check = self._target, "event delay"
        headers = {} if target.key is None else {"Authorization": f"Bearer {target.key}"}
        url = f"{target.internal_url}/publish"
        body = {
            "to": {"user": target.user}, "event": _TEST_EVENT_NAME, "data": {"n": n},
            "ephemeral": True,
        }  # fmt: skip
        try:
            async with (
                asyncio.timeout(target.timeout_seconds),
                session.post(url, json=body, headers=headers) as response,
            ):
                if response.status != 200:
                    advice = "pass a key with the scope publish: --key"
                    return warn(check, f"{url} responds with {response.status}", advice)
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or f"no response within {target.timeout_seconds:g} s"
            return warn(check, f"cannot publish a test event: {reason}", "check --internal-url")
        return None

    def _check_first_event(self) -> Iterator[CheckResult]:
        check, seconds = "stream", self._opened_at - self._started_at
        timeout_seconds = self._target.timeout_seconds
        if self._open is None and self._undecodable:
            message = "the body is not an event stream"
            yield fail(check, message, "find out what rewrites the body")
        elif self._open is None and self._ended:
            message = "the stream ended before its first event"
            yield fail(check, message, "check the error log of the proxy")
        elif self._open is None:
            message = (
                "the proxy buffers the stream: the headers arrived, but no event within "
                f"{timeout_seconds:g} s"
            )
            yield fail(check, message, DISABLE_BUFFERING)
        elif seconds > timeout_seconds / 2:
            yield warn(check, f"the first event arrived after {seconds:.1f} s", DISABLE_BUFFERING)
        else:
            yield ok(check, f"the first event arrived after {seconds * 1000:.0f} ms")

    def _check_heartbeats(self) -> Iterator[CheckResult]:
        if self._open is None:
            return
        now, check = time.monotonic(), "heartbeats"
        interval = float(self._open["heartbeat_seconds"])
        open_seconds, silent_seconds = now - self._opened_at, now - self._last_chunk_at
        if self._bye is not None:
            message = f"the hub ended the stream itself: {self._bye['reason']}"
            yield warn(check, message, "try again when the node is not draining or full")
        elif self._ended:
            message = f"the stream was cut off after {open_seconds:.1f} s, without a hub.bye"
            yield fail(check, message, RAISE_READ_TIMEOUT)
        elif silent_seconds > interval + self._target.timeout_seconds / 2:
            message = (
                f"the proxy buffers the stream: no heartbeat for {silent_seconds:.1f} s, although "
                f"the hub sends one every {interval:g} s"
            )
            yield fail(check, message, DISABLE_BUFFERING)
        elif self._heartbeats:
            message = f"{self._heartbeats} heartbeats arrived in {open_seconds:.1f} s"
            yield ok(check, message)
        else:
            seconds = interval + self._target.timeout_seconds
            message = f"no heartbeat was due within the {open_seconds:.1f} s of this check"
            yield warn(check, message, f"check for longer: --seconds {seconds:.0f}")
