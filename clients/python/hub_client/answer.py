"""An answer of an LLM that is being generated: its text as it grows, its events, stop and restart.

Invariants:
1. The text that iteration has yielded is always a prefix of the answer. When that can no longer be
   true, iteration raises AnswerRewritten.
2. The reader does not notice a broken connection: the stream resumes.
3. All state is in the Answer, so that one way of reading continues where another one stopped.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any, Self

import msgspec

from hub_client.errors import AnswerFailed, AnswerRewritten
from hub_client.generations import (
    AnswerEvent,
    Continued,
    Delta,
    Done,
    End,
    Failed,
    GenerationStarted,
    InputExpired,
    InputReceived,
    InputRequested,
    InputValue,
    Replaced,
    Restarted,
    Snapshot,
    Started,
    Steered,
    Stopped,
    join_request,
    parse_answer_event,
    respond_request,
    restart_request,
    steer_request,
    stop_request,
)
from hub_client.http import HttpClient
from hub_client.parts import FoldedParts
from hub_client.resuming_stream import ResumingStream, StreamReader


class Answer(StreamReader):
    """Read it with `async for text in answer: …`, `await answer.text()` or `answer.events()`.

    One task reads an answer. A reader that leaves early calls `aclose`, or uses
    `async with answer:`. The hub continues the generation until `stop`.

    id: the id of the generation.
    status: `queued`, `running`, `waiting` (for an input), `done`, `stopped` or `failed`, as of the
    events read so far.
    usage, finish_reason, seconds: set at the end, when the upstream reports them.
    """

    def __init__(
        self, client: HttpClient, user: str | None, started: GenerationStarted | str
    ) -> None:
        """started: the response to a start, or the id of a generation to join."""
        self.id = started if isinstance(started, str) else started.generation
        self.status = "queued"
        self.usage: Mapping[str, Any] | None = None
        self.finish_reason: str | None = None
        self.seconds: Mapping[str, float | None] | None = None
        self._failed: Failed | None = None  # the end event of a failed generation
        self._parts: list[str] = []  # the text that was read
        self._folded = FoldedParts()  # all parts that were read, text too
        self._yielded = 0  # the number of parts that iteration has yielded
        self._rewritten = False  # AnswerRewritten is to be raised
        self._client = client
        self._user = user
        self._stream = ResumingStream(client, partial(join_request, self.id, user))
        self._stream.cursor = None if isinstance(started, str) else started.cursor

    def __repr__(self) -> str:
        return f"<Answer {self.id} {self.status}>"

    @property
    def ended(self) -> bool:
        """Whether the end event has been read."""
        return self.status in ("done", "stopped", "failed")

    @property
    def current_text(self) -> str:
        """The text that has been read."""
        return "".join(self._parts)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """All parts that have been read, in order, folded: text, reasoning, tool calls with their
        results, sources, files, the status, steps, data and inputs. parts.py describes each.
        """
        return self._folded.parts

    @property
    def waiting_inputs(self) -> list[dict[str, Any]]:
        """The inputs among the parts that wait for a value."""
        return [
            part
            for part in self._folded.parts
            if part["type"] == "input" and part["state"] == "waiting"
        ]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """Return the next part of the text. Raise AnswerFailed and AnswerRewritten."""
        while True:
            if self._rewritten:
                self._rewritten = False
                raise AnswerRewritten(self.id)
            if new_text := self._take_new_text():
                return new_text
            if self.ended:
                self._raise_if_failed()
                raise StopAsyncIteration
            await self._next_event()

    async def text(self) -> str:
        """Wait for the end and return the whole text.

        Of a stopped generation, return the text up to the stop. Raise AnswerFailed.
        """
        while not self.ended:
            await self._next_event()
        self._raise_if_failed()
        return self.current_text

    async def events(self) -> AsyncGenerator[AnswerEvent, None]:
        """Iterate over the events up to the end. A failure is an event here; it is not raised."""
        while not self.ended:
            yield await self._next_event()

    async def stop(self) -> str:
        """Stop the generation. Return `stopping` or `already ended`."""
        return await self._client.send(stop_request(self.id, self._user))

    async def restart(self) -> Answer:
        """Stop the generation if it runs, start the same request again, return the new answer."""
        request = restart_request(self.id, uuid.uuid4().hex, self._user)
        started = await self._client.send(request)
        return Answer(self._client, self._user, started)

    async def respond(self, input: str, value: Any) -> InputValue:  # noqa: A002 - as in the API
        """Give the value of an input. See HubClient.respond."""
        return await self._client.send(respond_request(self.id, input, value, self._user))

    async def steer(self, message: str | Mapping[str, Any]) -> int:
        """Send another message to the code that produces the answer. See HubClient.steer."""
        request = steer_request(self.id, message, uuid.uuid4().hex, self._user)
        return await self._client.send(request)

    async def _next_event(self) -> AnswerEvent:
        while True:
            read = await self._stream.next()
            event = parse_answer_event(read)
            if event is not None:
                self._folded.apply(read.name, msgspec.json.decode(read.data))
                self._apply(event)
                if self.ended:
                    self._stream.close()
                return event

    def _apply(self, event: AnswerEvent) -> None:
        match event:
            case Delta(text=text):
                self._parts.append(text)
            case Started():
                self.status = "running"
            case Snapshot():
                self._replace_text(event.text)
                # The snapshot of an ended generation is followed by its end event.
                self.status = "queued" if event.status == "queued" else self._running_status()
            case Replaced():
                self._replace_text(event.text)
            case Restarted():
                self._replace_text("")
                self.status = "running"
            case Continued(snapshot=snapshot):
                self._replace_text(snapshot.text)
                self.status = self._running_status()
            case InputRequested() | InputReceived() | InputExpired():
                self.status = self._running_status()
            case Steered():
                pass
            case End():
                self._apply_end(event)

    def _running_status(self) -> str:
        return "waiting" if self.waiting_inputs else "running"

    def _apply_end(self, event: End) -> None:
        self.status = event.name.removeprefix("generation.")
        self.usage, self.seconds = event.usage, event.seconds
        match event:
            case Done(finish_reason=reason):
                self.finish_reason = reason
            case Failed():
                self._failed = event
            case Stopped():
                pass

    def _replace_text(self, text: str) -> None:
        yielded_text = "".join(self._parts[: self._yielded])
        if text.startswith(yielded_text):
            self._parts, self._yielded = [yielded_text, text[len(yielded_text) :]], 1
        else:
            self._parts, self._yielded, self._rewritten = [text], 0, True

    def _take_new_text(self) -> str:
        new_text = "".join(self._parts[self._yielded :])
        self._yielded = len(self._parts)
        return new_text

    def _raise_if_failed(self) -> None:
        if self._failed is not None:
            failed = self._failed
            raise AnswerFailed(
                failed.code, failed.message, retryable=failed.retryable, text=self.current_text
            )
