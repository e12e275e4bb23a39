"""Answers that a process of the application writes, with asyncio.

    async with backend.generation(user="alice") as answer:
        await answer.write("Hello")

A task posts what was written: at once after a silence, else 25 ms after the last post, and `[]` to
renew the lease when nothing is written. Another one follows the control stream, so that a stop
raises at the next call. producing.py has the rules of the numbers and of repeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from hub_client.errors import HubClientError
from hub_client.http import HttpClient
from hub_client.producing import (
    COALESCE_SECONDS,
    FAILED,
    MAX_OUTBOX_BYTES,
    Attempt,
    AttemptFacts,
    Delivery,
    EndFields,
    InputOptions,
    Part,
    ProduceOptions,
    control_request,
    input_part,
    input_value,
    post_request,
    start_request,
)
from hub_client.resuming_stream import ResumingStream


class ProducedAnswer(AttemptFacts):
    """`async with backend.generation(…) as answer: …`.

    Leaving the block ends the answer as done, an exception ends it as failed. A stop raises
    GenerationStopped at the next call.
    """

    def __init__(self, http: HttpClient, options: ProduceOptions) -> None:
        super().__init__()
        self._http = http
        self._options = options
        self._sender: asyncio.Task[None] | None = None
        self._has_work = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_news = asyncio.Event()  # of inputs

    async def __aenter__(self) -> Self:
        self._begin(await self._http.send(start_request(self._options)))
        return self

    def _begin(self, attempt: Attempt) -> None:
        delivery = self._delivery = Delivery(attempt)
        http = self._http.with_policy(delivery.post_policy(self._http.retry_policy))
        self._sender = asyncio.create_task(  # noqa: TID251 - the client has no hub.engine
            self._send_parts(http), name="hub producer"
        )
        control = asyncio.create_task(  # noqa: TID251 - the client has no hub.engine
            self._follow_control(delivery), name="hub producer control"
        )
        self._sender.add_done_callback(lambda _: control.cancel())

    async def write(self, part: Part, *, checkpoint: Any = None) -> None:
        """Publish a part: a text, or an object with `type` and its fields.

        checkpoint: a JSON value that is saved with the part; the next attempt continues from it.
        Raise GenerationStopped, LeaseLost, HubClientError, TypeError.
        """
        delivery = self._current
        delivery.add(part, checkpoint)
        self._has_work.set()
        await asyncio.sleep(0)  # a loop that only writes must not keep the sender from its work
        while delivery.outbox.size_bytes > MAX_OUTBOX_BYTES and not delivery.is_over:
            self._has_room.clear()
            await self._has_room.wait()
        delivery.check()

    async def input(self, key: str, prompt: str, **options: Any) -> Any:
        """Ask the user for a value, and return it: JSON.

        key: a name of your own, once in each answer; a later attempt that asks with it again gets
        the value at once. options: `options`, `schema`, `timeout_seconds` (3600), `approvers` and
        `tool_call`, as in InputOptions. The lease is renewed meanwhile.
        Raise InputTimeout when nobody has answered in time, and as `write`.
        """
        delivery = self._current
        await self.write(input_part(key, prompt, InputOptions(**options)))
        await self.flush()
        while (received := delivery.take_input(key)) is None:
            self._has_news.clear()
            await self._has_news.wait()
        return input_value(received)

    async def suspend(self, key: str, prompt: str, *, state: Any = None, **options: Any) -> None:
        """Ask the user for a value, and end this attempt until it comes. Write nothing after it.

        The value begins the next attempt, which has `state` as its checkpoint and the value in
        `inputs`: a job can be claimed again, and any other answer continues with its id. options:
        as in `input`. Raise as `write`.
        """
        delivery = self._current
        delivery.suspend(input_part(key, prompt, InputOptions(**options)), state)
        self._has_work.set()
        assert self._sender is not None
        await self._sender
        delivery.check()

    async def flush(self) -> None:
        """Return when the hub has everything. Raise as `write`."""
        delivery = self._current
        while len(delivery.outbox) and not delivery.is_over:
            self._has_room.clear()
            await self._has_room.wait()
        delivery.check()

    async def done(
        self, finish_reason: str | None = None, usage: Mapping[str, Any] | None = None
    ) -> None:
        """End the answer with a reason or with token counts; leaving the block ends it as well."""
        await self._end(EndFields("done", {"finish_reason": finish_reason, "usage": usage}))

    async def fail(self, code: str, message: str, *, retryable: bool = False) -> None:
        """End the answer as failed. Users see the message."""
        fields = {"code": code, "message": message, "retryable": retryable}
        await self._end(EndFields("failed", fields))

    async def _end(self, end: EndFields) -> None:
        delivery = self._current
        delivery.check()
        delivery.end(end)
        self._has_work.set()
        assert self._sender is not None
        await self._sender
        delivery.check()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        delivery, sender = self._current, self._sender
        assert sender is not None
        delivery.end(EndFields("done", {}) if error is None else FAILED)
        self._has_work.set()
        try:
            await asyncio.shield(sender)
        finally:
            sender.cancel()
        if error is None and delivery.failure is not None:
            raise delivery.failure

    async def _send_parts(self, http: HttpClient) -> None:
        delivery, loop = self._current, asyncio.get_running_loop()
        answered_at = loop.time()
        failures = 0
        while True:
            if not failures:
                await self._wait_for_work(answered_at)
            if delivery.is_over:
                break
            self._has_work.clear()
            batch = delivery.outbox.next_batch()
            try:
                posted = await http.send(post_request(delivery.attempt, batch))
            except HubClientError as error:
                failures += 1
                if delivery.on_error(error, loop.time() - answered_at):
                    await asyncio.sleep(http.retry_policy.delay_seconds(failures))
            else:
                failures, answered_at = 0, loop.time()
                delivery.on_posted(batch, posted)
            self._has_room.set()
            self._has_news.set()

    async def _follow_control(self, delivery: Delivery) -> None:
        stream = ResumingStream(self._http, lambda _: control_request(delivery.attempt))
        try:
            while not delivery.is_over:
                event = await stream.next()
                delivery.on_signal(event.name, event.data)
                self._has_news.set()
        except HubClientError as error:
            delivery.on_control_error(error)
        finally:
            stream.close()
        if delivery.is_over:
            self._has_work.set()
            self._has_room.set()
            self._has_news.set()

    async def _wait_for_work(self, answered_at: float) -> None:
        delivery = self._current
        if delivery.is_over:
            return
        if not len(delivery.outbox):
            try:
                async with asyncio.timeout(delivery.renew_seconds):
                    await self._has_work.wait()
            except TimeoutError:
                return
        delay = answered_at + COALESCE_SECONDS - asyncio.get_running_loop().time()
        if delay > 0:
            await asyncio.sleep(delay)
