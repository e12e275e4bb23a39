"""Users who ask and read, and the ledger of their answers.

Each user follows one stream over all nodes, asks one question after the other, and applies the
events as a client does. The ledger holds what must never happen:

    gap, wrong text      an answer was continued or ended without a part of it
    second end           an answer ended twice without `hub.reset` or `generation.restarted` between
    wrong end            an answer failed, although nothing is wrong with the LLM
    hanging              no end came in time
    lost                 a question is unknown, although no fail-over can have lost it
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import aiohttp

from hub.core.sse_decoder import ServerSentEvent, SseDecoder
from hub.upstreams.simulated.answers import choose_answer

ENDS: Final = {"generation.done", "generation.stopped", "generation.failed"}
HANGING_SECONDS: Final = 120.0
_CALL_TIMEOUT: Final = aiohttp.ClientTimeout(total=8)
_STREAM_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=8)
_MAX_CASES: Final = 20
_FAIL_OVER_SECONDS: Final = 10.0


class AnswerLedger:
    """Counts the answers and the violations.

    missing: when each question that has no record any more was sent and acknowledged.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self.cases: list[str] = []
        self.missing: dict[str, tuple[float, float]] = {}
        self._losses: list[tuple[float, float]] = []  # from when to when writes can be lost

    def record_loss(self, since: float, until: float) -> None:
        """Record that a fail-over lost writes of this time."""
        self._losses.append((since, until))

    def close(self) -> None:
        """Decide which questions may be missing."""
        self.counts["questions lost with the writes of a fail-over"] = len(self.missing)
        if self.missing:
            self.cases.append(f"writes lost: {[(round(a), round(b)) for a, b in self._losses]}")
        for generation, (sent_at, acknowledged_at) in self.missing.items():
            if not any(
                sent_at < until and acknowledged_at > since for since, until in self._losses
            ):
                self.add_violation("lost", f"{generation}, acknowledged at {acknowledged_at:.1f}")

    def add_violation(self, kind: str, what: str) -> None:
        """Record what must not happen."""
        self.violations[kind] += 1
        if len(self.cases) < _MAX_CASES:
            self.cases.append(f"{time.strftime('%X')} {kind}: {what}")

    @property
    def clean(self) -> bool:
        """Return whether every answer ended exactly once with the right text."""
        return not self.violations


class Answer:
    """One answer as a client sees it."""

    def __init__(self, generation: str, expected: str, requested_at: float) -> None:
        self.generation = generation
        self.expected = expected
        self.requested_at = requested_at
        self.acknowledged_at = time.monotonic()
        self.stop_requested = False
        self.text = ""
        self.deltas = 0
        self.end = ""
        self.is_snapshot = False  # the end comes from a snapshot; its event may still arrive
        self.changed = asyncio.Event()
        self.history: list[str] = []  # for the description of a violation

    def apply_snapshot(self, snapshot: dict[str, Any]) -> None:
        self.text, self.deltas = snapshot["text"], snapshot["deltas"]
        self.history.append(f"snapshot {snapshot['status']} {self.deltas}")
        status = f"generation.{snapshot['status']}"
        self.end = status if status in ENDS else ""
        self.is_snapshot = True
        self.changed.set()

    def apply_event(self, name: str, data: dict[str, Any], ledger: AnswerLedger) -> None:
        """Apply an event in the order of the stream."""
        self.history.append(f"{name.removeprefix('generation.')} {data.get('i', '')}")
        if name in ("generation.started", "generation.restarted"):
            self.text, self.deltas, self.end, self.is_snapshot = "", 0, "", False
            ledger.counts[name.removeprefix("generation.")] += 1
            return
        if name == "generation.continued":
            self.text, self.deltas = data["snapshot"]["text"], data["parts"]
            ledger.counts["continued"] += 1
            return
        if name in ENDS:
            if self.end and not self.is_snapshot:
                ledger.add_violation("second end", f"{self.generation} {self.end} {name} {data}")
            self.end, self.is_snapshot = name, False
            self.changed.set()
            if name == "generation.failed":
                ledger.add_violation("wrong end", f"{self.generation} {data}")
            return
        if data["i"] < self.deltas and self.is_snapshot:
            return  # the snapshot contains it
        if data["i"] != self.deltas:
            ledger.add_violation("gap", f"{self.generation} {self.deltas} followed by {data['i']}")
        self.deltas = data["i"] + 1
        text = data.get("text", "")
        self.text = text if name == "generation.replaced" else self.text + text


class User:
    """A user with one stream, who asks one question after the other."""

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        session: aiohttp.ClientSession,
        ledger: AnswerLedger,
        seed: int,
    ) -> None:
        self.name = name
        self.answers: dict[str, Answer] = {}
        self.opened = asyncio.Event()
        self._urls = urls
        self._session = session
        self._ledger = ledger
        self._random = random.Random(seed)
        self._early: dict[str, list[tuple[str, dict[str, Any]]]] = {}  # before their answer
        self._cursor = ""
        self._base = urls[0]  # the node of the stream
        self._resets = 0

    async def read(self) -> None:
        """Follow the user's stream until cancelled."""
        while True:
            headers = {"Last-Event-ID": self._cursor} if self._cursor else {}
            self._base = self._random.choice(self._urls)
            url = f"{self._base}/sse/connect/{self.name}"
            try:
                async with self._session.get(
                    url, headers=headers, timeout=_STREAM_TIMEOUT
                ) as response:
                    decoder = SseDecoder()
                    async for chunk in response.content.iter_any():
                        for event in decoder.feed(chunk):
                            await self._on_event(event)
            except (aiohttp.ClientError, TimeoutError, OSError):
                self._ledger.counts["broken streams"] += 1
            await asyncio.sleep(self._random.uniform(0.05, 0.3))

    async def ask_all(self, is_over: Callable[[], bool]) -> None:
        """Ask questions until `is_over`, each after the end of the one before."""
        await self.opened.wait()
        while not is_over():
            prompt = f"count to {self._random.randint(5, 120)}"
            answer = await self._ask(prompt)
            if self._random.random() < 0.1:
                answer.stop_requested = True
                await asyncio.sleep(self._random.uniform(0, 1))
                await self._call("DELETE", f"/generations/{answer.generation}")
            await self._wait_for_end(answer)

    async def check(self) -> None:
        """Compare every record with what its question must give."""
        for answer in self.answers.values():
            async with asyncio.timeout(HANGING_SECONDS):
                while (snapshot := await self._snapshot(answer)) is not None:
                    if f"generation.{snapshot['status']}" in ENDS:
                        break
                    await asyncio.sleep(0.3)
            if snapshot is None:
                self._on_missing(answer)
                continue
            if f"generation.{snapshot['status']}" != answer.end:
                text = f"{answer.generation} read {answer.end!r}, record {snapshot['status']}"
                self._ledger.add_violation("wrong end", text)
            self._check_text(answer, snapshot["status"], snapshot["text"])

    async def _ask(self, prompt: str) -> Answer:
        requested_at, resets = time.monotonic(), self._resets
        body = {"prompt": prompt, "id": secrets.token_hex(8)}
        while True:
            status, reply = await self._call("POST", "/generations", body)
            if status == 202:
                break
            self._ledger.counts[f"requests repeated after {status}"] += 1
            await asyncio.sleep(0.2)
        self._ledger.counts["questions"] += 1
        generation = reply["generation"]
        answer = self.answers[generation] = Answer(generation, choose_answer(prompt), requested_at)
        for name, data in self._early.pop(generation, []):
            answer.apply_event(name, data, self._ledger)
        if self._resets != resets:
            await self._fetch(answer)
        return answer

    async def _fetch(self, answer: Answer) -> None:
        """Replace what is known of an answer, from the node of the stream.

        While Redis fails over, another node may still see the other history.
        """
        snapshot = await self._snapshot(answer, self._base)
        if snapshot is not None:
            answer.apply_snapshot(snapshot)

    async def _wait_for_end(self, answer: Answer) -> None:
        deadline = time.monotonic() + HANGING_SECONDS
        while not answer.end:
            answer.changed.clear()
            try:
                async with asyncio.timeout(5):
                    await answer.changed.wait()
            except TimeoutError:
                snapshot = await self._snapshot(answer)
                if snapshot is None:
                    await asyncio.sleep(_FAIL_OVER_SECONDS)  # a node may not have noticed it yet
                    snapshot = await self._snapshot(answer)
                if snapshot is None:
                    self._on_missing(answer)
                    return
                if time.monotonic() > deadline:
                    self._ledger.add_violation("hanging", f"{answer.generation} {snapshot}")
                    return
        self._ledger.counts[answer.end.removeprefix("generation.")] += 1
        if not answer.is_snapshot:
            self._check_text(answer, answer.end.removeprefix("generation."), answer.text)

    def _check_text(self, answer: Answer, status: str, text: str) -> None:
        if status == "stopped" and answer.stop_requested:
            if not answer.expected.startswith(text):
                self._ledger.add_violation("wrong text", f"{answer.generation} stopped: {text!r}")
        elif status == "done":
            if text != answer.expected:
                self._ledger.add_violation(
                    "wrong text", f"{answer.generation} {text!r} {answer.history}"
                )
        else:
            self._ledger.add_violation("wrong end", f"{answer.generation} {status}")

    def _on_missing(self, answer: Answer) -> None:
        self._ledger.missing[answer.generation] = answer.requested_at, answer.acknowledged_at

    async def _on_event(self, event: ServerSentEvent) -> None:
        if event.name == "hub.open":
            self.opened.set()
        elif event.name == "hub.reset":
            self._ledger.counts["resets"] += 1
            self._resets += 1
            for answer in list(self.answers.values()):
                await self._fetch(answer)
        elif event.name.startswith("generation."):
            data = json.loads(event.data)
            answer_or_none = self.answers.get(data["generation"])
            if answer_or_none is not None:
                answer_or_none.apply_event(event.name, data, self._ledger)
            else:
                self._early.setdefault(data["generation"], []).append((event.name, data))
        if event.id:
            self._cursor = event.id

    async def _snapshot(self, answer: Answer, base: str = "") -> dict[str, Any] | None:
        """Return the record, from any node or from one; None when there is none."""
        while True:
            reply: dict[str, Any]
            status, reply = await self._call("GET", f"/generations/{answer.generation}", base=base)
            if status == 200:
                return reply
            if status == 404:
                return None
            await asyncio.sleep(0.2)

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, base: str = ""
    ) -> tuple[int, Any]:
        """Return the status and the JSON body; status 0 when no response came."""
        url = f"{base or self._random.choice(self._urls)}{path}?user={self.name}"
        try:
            async with self._session.request(
                method, url, json=body, timeout=_CALL_TIMEOUT
            ) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return 0, None
