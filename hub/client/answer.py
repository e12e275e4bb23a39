"""An answer that is being generated: its text as it grows, its events, stop and restart.

Rules:
1. What iteration has given is always a beginning of the answer; where that can no longer be so, it
   raises AnswerRewritten.
2. A break of the connection is not seen: the stream returns to where it was.
3. All state is in the Answer: any way of reading goes on where another one left.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

from hub.client.answer_events import (
    AnswerEvent,
    Delta,
    Done,
    End,
    Failed,
    Replaced,
    Restarted,
    Snapshot,
    Started,
    Stopped,
    answer_event,
)
from hub.client.errors import AnswerFailed, AnswerRewritten
from hub.client.generation_calls import (
    GenerationStarted,
    join_request,
    restart_request,
    stop_request,
)
from hub.client.http import HttpClient
from hub.client.resuming_stream import ResumingStream


class Answer:
    """`async for text in answer: …`, or `await answer.text()`, or `answer.events()`.

    id: the generation's. status: `queued`, `running`, `done`, `stopped` or `failed`, as far as it
    has been read. usage, finish_reason, seconds: once it has ended, where the upstream told them.

    One task reads it. Who leaves early calls `aclose`, or `async with answer:`; the generation goes
    on at the hub until `stop`.
    """

    def __init__(
        self, link: HttpClient, user: str | None, started: GenerationStarted | str
    ) -> None:
        """started: what asking for it gave, or the id of one to join."""
        self.id = started if isinstance(started, str) else started.generation
        self.status = "queued"
        self.usage: Mapping[str, Any] | None = None
        self.finish_reason: str | None = None
        self.seconds: Mapping[str, float | None] | None = None
        self._failed: Failed | None = None
        self._pieces: list[str] = []
        self._given = 0  # of the pieces, by iteration
        self._rewritten = False
        self._link = link
        self._user = user
        self._stream = ResumingStream(link, partial(join_request, self.id, user))
        self._stream.cursor = None if isinstance(started, str) else started.cursor

    def __repr__(self) -> str:
        return f"<Answer {self.id} {self.status}>"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status in ("done", "stopped", "failed")

    @property
    def text_so_far(self) -> str:
        """What has been read of it."""
        return "".join(self._pieces)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """The next piece of text. Raises AnswerFailed and AnswerRewritten."""
        while True:
            if self._rewritten:
                self._rewritten = False
                raise AnswerRewritten(self.id)
            if fresh := self._fresh():
                return fresh
            if self.ended:
                self._raise_if_failed()
                raise StopAsyncIteration
            await self._next()

    async def text(self) -> str:
        """All of it, once it has ended; of a stopped one what there was. Raises AnswerFailed."""
        while not self.ended:
            await self._next()
        self._raise_if_failed()
        return self.text_so_far

    async def events(self) -> AsyncGenerator[AnswerEvent, None]:
        """The events up to the end; a failure is one of them, and not raised."""
        while not self.ended:
            yield await self._next()

    async def stop(self) -> str:
        """Stops it, wherever it runs: `stopping`, or `already ended`."""
        return await self._link.send(stop_request(self.id, self._user))

    async def restart(self) -> Answer:
        """Stops it if it runs, and asks the same again: another answer."""
        started = await self._link.send(restart_request(self.id, uuid.uuid4().hex, self._user))
        return Answer(self._link, self._user, started)

    async def aclose(self) -> None:
        """Ends the connection; reading on opens another one."""
        self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _next(self) -> AnswerEvent:
        while True:
            event = answer_event(await self._stream.next())
            if event is not None:
                self._take(event)
                if self.ended:
                    self._stream.close()
                return event

    def _take(self, event: AnswerEvent) -> None:
        match event:
            case Delta(text=text):
                self._pieces.append(text)
            case Started():
                self.status = "running"
            case Snapshot():
                self._rewrite(event.text)
                # That it has ended is said by the end event that follows.
                self.status = "queued" if event.status == "queued" else "running"
            case Replaced():
                self._rewrite(event.text)
            case Restarted():
                self._rewrite("")
            case End():
                self._end(event)

    def _end(self, event: End) -> None:
        self.status = event.name.removeprefix("generation.")
        self.usage, self.seconds = event.usage, event.seconds
        match event:
            case Done(finish_reason=reason):
                self.finish_reason = reason
            case Failed():
                self._failed = event
            case Stopped():
                pass

    def _rewrite(self, text: str) -> None:
        given = "".join(self._pieces[: self._given])
        if text.startswith(given):
            self._pieces, self._given = [given, text[len(given) :]], 1
        else:
            self._pieces, self._given, self._rewritten = [text], 0, True

    def _fresh(self) -> str:
        fresh = "".join(self._pieces[self._given :])
        self._given = len(self._pieces)
        return fresh

    def _raise_if_failed(self) -> None:
        if self._failed is not None:
            failed = self._failed
            raise AnswerFailed(
                failed.code, failed.message, retryable=failed.retryable, text=self.text_so_far
            )
