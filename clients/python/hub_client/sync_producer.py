"""Answers that a process without an event loop writes: Celery tasks, Django views, scripts.

A thread posts what was written, by the same rules as producer.py. Another one follows the control
stream (sync_control.py), so that a stop ends each wait at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from hub_client.errors import HubClientError
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
    input_part,
    input_value,
    post_request,
    start_request,
)
from hub_client.sync_control import SyncControlStream
from hub_client.sync_http import SyncHttpClient, run_blocking


class SyncProducedAnswer(AttemptFacts):
    """`with backend.generation(…) as answer: …`. Its methods are those of ProducedAnswer."""

    def __init__(self, http: SyncHttpClient, options: ProduceOptions) -> None:
        super().__init__()
        self._http = http
        self._options = options
        self._changed = threading.Condition()  # guards the delivery
        self._sender: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._begin(run_blocking(self._http.send(start_request(self._options))))
        return self

    def _begin(self, attempt: Attempt) -> None:
        delivery = self._delivery = Delivery(attempt)
        http = self._http.with_policy(delivery.post_policy(self._http.retry_policy))
        control = SyncControlStream(self._http, delivery, self._changed)
        self._sender = threading.Thread(
            target=self._send_parts, args=(http, control), name="hub producer", daemon=True
        )
        self._sender.start()
        control.start()

    def write(self, part: Part, *, checkpoint: Any = None) -> None:
        """See ProducedAnswer.write."""
        delivery = self._current
        with self._changed:
            delivery.add(part, checkpoint)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: delivery.is_over or delivery.outbox.size_bytes <= MAX_OUTBOX_BYTES
            )
            delivery.check()

    def input(self, key: str, prompt: str, **options: Any) -> Any:
        """See ProducedAnswer.input."""
        delivery = self._current
        self.write(input_part(key, prompt, InputOptions(**options)))
        self.flush()
        with self._changed:
            self._changed.wait_for(lambda: delivery.is_over or key in delivery.inputs)
            received = delivery.take_input(key)
        if received is None:
            raise RuntimeError("this answer has its end already")
        return input_value(received)

    def suspend(self, key: str, prompt: str, *, state: Any = None, **options: Any) -> None:
        """See ProducedAnswer.suspend."""
        delivery = self._current
        with self._changed:
            delivery.suspend(input_part(key, prompt, InputOptions(**options)), state)
            self._changed.notify_all()
        assert self._sender is not None
        self._sender.join()
        delivery.check()

    def flush(self) -> None:
        """See ProducedAnswer.flush."""
        delivery = self._current
        with self._changed:
            self._changed.wait_for(lambda: delivery.is_over or not len(delivery.outbox))
            delivery.check()

    def wait(self, seconds: float) -> None:
        """Wait, in place of `time.sleep`, and raise as `write` as soon as there is a reason."""
        delivery = self._current
        with self._changed:
            self._changed.wait_for(lambda: delivery.is_over, seconds)
            delivery.check()

    def done(
        self, finish_reason: str | None = None, usage: Mapping[str, Any] | None = None
    ) -> None:
        """See ProducedAnswer.done."""
        self._end(EndFields("done", {"finish_reason": finish_reason, "usage": usage}))

    def fail(self, code: str, message: str, *, retryable: bool = False) -> None:
        """See ProducedAnswer.fail."""
        fields = {"code": code, "message": message, "retryable": retryable}
        self._end(EndFields("failed", fields))

    def _end(self, end: EndFields) -> None:
        with self._changed:
            self._current.check()
        self._finish(end)
        self._current.check()

    def _finish(self, end: EndFields) -> None:
        delivery = self._current
        with self._changed:
            delivery.end(end)
            self._changed.notify_all()
        assert self._sender is not None
        self._sender.join()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish(EndFields("done", {}) if error is None else FAILED)
        failure = self._current.failure
        if error is None and failure is not None:
            raise failure

    def _send_parts(self, http: SyncHttpClient, control: SyncControlStream) -> None:
        try:
            self._send_until_over(http)
        finally:
            control.close()
            http.close()

    def _send_until_over(self, http: SyncHttpClient) -> None:
        delivery = self._current
        answered_at, failures = time.monotonic(), 0
        while True:
            if not failures:
                self._wait_for_work(answered_at)
            with self._changed:
                if delivery.is_over:
                    return
                batch = delivery.outbox.next_batch()
                body = post_request(delivery.attempt, batch)
            try:
                posted = run_blocking(http.send(body))
            except HubClientError as error:
                failures += 1
                with self._changed:
                    again = delivery.on_error(error, time.monotonic() - answered_at)
                    self._changed.notify_all()
                    if again:
                        delay_seconds = http.retry_policy.delay_seconds(failures)
                        self._changed.wait_for(lambda: delivery.is_over, delay_seconds)
            else:
                failures, answered_at = 0, time.monotonic()
                with self._changed:
                    delivery.on_posted(batch, posted)
                    self._changed.notify_all()

    def _wait_for_work(self, answered_at: float) -> None:
        delivery = self._current
        with self._changed:
            has_work = self._changed.wait_for(
                lambda: delivery.is_over or len(delivery.outbox), delivery.renew_seconds
            )
        delay = answered_at + COALESCE_SECONDS - time.monotonic()
        if has_work and delay > 0 and not delivery.is_over:
            time.sleep(delay)
