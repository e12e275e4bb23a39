"""The event stream through the proxy: do its parts come as they were sent, when they were sent?"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from collections.abc import Iterator
from typing import Any, Final

import aiohttp

from hub.cli.doctor.result import CheckResult, fail, ok, warn
from hub.cli.doctor.stream_headers import check_headers, check_response
from hub.cli.doctor.target import ProbeTarget
from hub.core.sse_decoder import SseDecoder, StreamTooLarge

NO_BUFFERING: Final = (
    "proxy_buffering off; and no proxy_ignore_headers X-Accel-Buffering (Caddy: flush_interval -1)"
)
NO_TIMEOUT: Final = "proxy_read_timeout 60s; (longer than stream.heartbeat_seconds)"
_LATE_SECONDS: Final = 0.5
_TRIALS: Final = 5
_TRIAL_EVENT: Final = "doctor.trial"
_HEARTBEAT: Final = re.compile(rb"^:", re.MULTILINE)


async def check_stream(session: aiohttp.ClientSession, visit: ProbeTarget) -> list[CheckResult]:
    """The findings; one of the check `front` where no hub was found at all."""
    accept = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate, br, zstd"}
    url, begun = visit.route("sse"), time.monotonic()
    asked = session.get(url, headers=accept, allow_redirects=False)
    try:
        async with asyncio.timeout(visit.timeout_seconds):
            response = await asked
    except TimeoutError:
        return [await _nothing_came(session, visit)]
    except aiohttp.ClientError as error:
        advice = "look whether a proxy or a hub listens there, and into the proxy's error log"
        return [fail("front", f"{url} gives no HTTP answer: {error}", advice)]
    async with response:
        if (refused := await check_response(response, visit.timeout_seconds)) is not None:
            return [refused]
        headers = [*check_headers(response)]
        if any((each.check, each.verdict) == ("compression", "fail") for each in headers):
            return headers  # what is inside is not looked at
        watch = _Watch(response, visit, begun)
        return [*headers, *await watch.findings(session)]


async def _nothing_came(session: aiohttp.ClientSession, visit: ProbeTarget) -> CheckResult:
    """A buffer, or nobody? An answer that is whole at once tells."""
    try:
        async with asyncio.timeout(2 * visit.timeout_seconds):
            async with session.get(visit.route("poll"), params={"wait": "0"}) as response:
                await response.read()
                status = response.status
    except (aiohttp.ClientError, TimeoutError):
        found = (
            f"nothing came within {visit.timeout_seconds:g} s, neither a stream nor a whole answer"
        )
        return fail("front", found, "look whether the proxy's upstream is a hub that lives")
    found = (
        f"held back: nothing of a stream came within {visit.timeout_seconds:g} s, "
        f"while a whole answer ({status}) comes at once"
    )
    return fail("stream", found, NO_BUFFERING)


class _Watch:
    """One open stream, what came on it, and when."""

    def __init__(self, response: aiohttp.ClientResponse, visit: ProbeTarget, begun: float) -> None:
        self._response = response
        self._visit = visit
        self._begun = begun
        self._until = time.monotonic() + visit.seconds
        self._decoder = SseDecoder()
        self._opened: dict[str, Any] | None = None
        self._opened_at = 0.0
        self._last = time.monotonic()
        self._heartbeats = 0
        self._bye: dict[str, Any] | None = None
        self._ended = self._no_stream = False
        self._arrived: dict[int, float] = {}

    async def findings(self, session: aiohttp.ClientSession) -> list[CheckResult]:
        """Reads to the end of the time; meanwhile test events are published, if they can be."""
        await self._read_until(self._patience(), for_open=True)
        delays = list[CheckResult]()
        if self._opened is not None and self._visit.internal_url is not None:
            delays = await self._try_events(session)
        if self._opened is not None:
            await self._read_until(self._until)
        return [*self._judge_opening(), *delays, *self._judge_rest()]

    async def _read_until(self, until: float, *, for_open: bool = False, trials: int = 0) -> None:
        """Returns then, or at the end of the stream, or with what was waited for."""
        try:
            async with asyncio.timeout(until - time.monotonic()):
                while not self._ended:
                    if for_open and self._opened is not None:
                        return
                    if trials and len(self._arrived) >= trials:
                        return
                    self._take(await self._response.content.readany())
        except TimeoutError:
            pass
        except (aiohttp.ClientError, OSError):
            self._ended = True

    def _patience(self) -> float:
        return time.monotonic() + self._visit.timeout_seconds

    def _take(self, chunk: bytes) -> None:
        if not chunk:
            self._ended = True
            return
        self._last = time.monotonic()
        self._heartbeats += len(_HEARTBEAT.findall(chunk))
        try:
            for event in self._decoder.feed(chunk):
                self._note(event.name, event.data)
        except (StreamTooLarge, ValueError):
            self._ended = self._no_stream = True

    def _note(self, name: str, text: str) -> None:
        if name == "hub.open":
            self._opened, self._opened_at = json.loads(text), self._last
        elif name == "hub.bye":
            self._bye = json.loads(text)
        elif name == _TRIAL_EVENT:
            self._arrived.setdefault(json.loads(text)["n"], self._last)

    async def _try_events(self, session: aiohttp.ClientSession) -> list[CheckResult]:
        """One at a time, so that one cannot push another out of a buffer."""
        visit = self._visit
        login = {} if visit.key is None else {"Authorization": f"Bearer {visit.key}"}
        url, check, delays = f"{visit.internal_url}/publish", "delay", list[float]()
        for n in range(_TRIALS):
            body = {
                "to": {"user": visit.user}, "event": _TRIAL_EVENT, "data": {"n": n},
                "ephemeral": True,
            }  # fmt: skip
            sent = time.monotonic()
            try:
                async with (
                    asyncio.timeout(visit.timeout_seconds),
                    session.post(url, json=body, headers=login) as answer,
                ):
                    if answer.status != 200:
                        advice = "give a key with the scope publish: --key"
                        return [warn(check, f"{url} answers {answer.status}", advice)]
            except (aiohttp.ClientError, TimeoutError) as error:
                why = str(error) or f"no answer within {visit.timeout_seconds:g} s"
                return [warn(check, f"no test event: {why}", "look at --internal-url")]
            await self._read_until(self._patience(), trials=n + 1)
            if n not in self._arrived:
                found = f"held back: a test event did not come within {visit.timeout_seconds:g} s"
                return [fail(check, found, NO_BUFFERING)]
            delays.append(self._arrived[n] - sent)
        found = f"{_TRIALS} test events took {statistics.median(delays) * 1000:.0f} ms, "
        found += f"{max(delays) * 1000:.0f} ms at most"
        late = statistics.median(delays) > _LATE_SECONDS
        return [fail(check, f"held back: {found}", NO_BUFFERING) if late else ok(check, found)]

    def _judge_opening(self) -> Iterator[CheckResult]:
        took = self._opened_at - self._begun
        if self._opened is None and self._no_stream:
            found, advice = "what comes is no event stream", "look what rewrites the body"
            yield fail("stream", found, advice)
        elif self._opened is None and self._ended:
            found = "cut off: the stream ended before its first event"
            yield fail("stream", found, "look into the proxy's error log")
        elif self._opened is None:
            found = (
                f"held back: headers came, and no event within {self._visit.timeout_seconds:g} s"
            )
            yield fail("stream", found, NO_BUFFERING)
        elif took > self._visit.timeout_seconds / 2:
            yield warn("stream", f"its first event took {took:.1f} s", NO_BUFFERING)
        else:
            yield ok("stream", f"its first event came after {took * 1000:.0f} ms")

    def _judge_rest(self) -> Iterator[CheckResult]:
        if self._opened is None:
            return
        every = float(self._opened["heartbeat_seconds"])
        lasted, silent = time.monotonic() - self._opened_at, time.monotonic() - self._last
        check = "heartbeats"
        if self._bye is not None:
            found = f"the hub ended the stream itself: {self._bye['reason']}"
            yield warn(check, found, "look again when the node is not draining, full or restarting")
        elif self._ended:
            found = f"cut off after {lasted:.1f} s, without a word from the hub"
            yield fail(check, found, NO_TIMEOUT)
        elif silent > every + self._visit.timeout_seconds / 2:
            found = f"held back: none for {silent:.1f} s, and the hub sends one every {every:g} s"
            yield fail(check, found, NO_BUFFERING)
        elif self._heartbeats:
            yield ok(check, f"{self._heartbeats} in {lasted:.1f} s, as they are sent")
        else:
            advice = f"look for longer: --seconds {every + self._visit.timeout_seconds:.0f}"
            yield warn(check, f"none was due in the {lasted:.1f} s of looking", advice)
