"""What a run asks of its worker, over the connection of the child process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from hub.producer.answer import AskRequest
from hub.producer.inputs import InputValue
from hub.producer.protocol import (
    Answered,
    Ask,
    AskClose,
    AskMore,
    InputAnswered,
    InputClose,
    Publish,
    Published,
    ToWorker,
)
from hub.producer.run import Notification

Send = Callable[[ToWorker], None]


class WorkerServices:
    """Implements run.RunServices for one run. number: that of the run. send: sends a message."""

    def __init__(self, number: int, send: Send) -> None:
        self._number = number
        self._send = send
        self._calls = itertools.count()
        self._replies: dict[int, asyncio.Future[Published]] = {}  # by number of the call
        self._answers: dict[int, RemoteAnswer] = {}  # the same; those that are read
        self._inputs: dict[str, asyncio.Future[InputValue]] = {}  # by key
        self._is_over = False

    async def publish(self, notification: Notification) -> None:
        """See RunServices.publish."""
        self.check_running()
        call = next(self._calls)
        reply = self._replies[call] = asyncio.get_running_loop().create_future()
        self._send(Publish(self._number, call, notification))
        try:
            published = await reply
        finally:
            self._replies.pop(call, None)
        if published.error:
            kind = ValueError if published.is_refused else ConnectionError
            raise kind(published.error)

    def open_answer(self, request: AskRequest) -> RemoteAnswer:
        """See RunServices.open_answer."""
        return RemoteAnswer(self, request)

    def ask(self, answer: RemoteAnswer, request: AskRequest) -> int:
        """Send the request of an answer, and return the number of the call."""
        self.check_running()
        call = next(self._calls)
        self._answers[call] = answer
        self._send(Ask(self._number, call, request))
        return call

    def ask_more(self, call: int) -> None:
        """Ask for the next parts of an answer."""
        self._send(AskMore(self._number, call))

    def end_answer(self, call: int, *, is_complete: bool) -> None:
        """Forget an answer that is not read any more."""
        if self._answers.pop(call, None) is not None and not is_complete:
            self._send(AskClose(self._number, call))

    def open_input(self, key: str) -> asyncio.Future[InputValue]:
        """See InputServices.open_input."""
        self.check_running()
        received = self._inputs[key] = asyncio.get_running_loop().create_future()
        return received

    def close_input(self, key: str) -> None:
        """See InputServices.close_input."""
        received = self._inputs.pop(key, None)
        is_answered = received is None or (received.done() and not received.cancelled())
        if not is_answered and not self._is_over:
            self._send(InputClose(self._number, key))

    def on_message(self, message: Published | Answered | InputAnswered) -> None:
        """Take what the worker sent for this run."""
        if isinstance(message, InputAnswered):
            received = self._inputs.get(message.key)
            if received is not None and not received.done():
                received.set_result(message.answer)
        elif isinstance(message, Answered):
            if (answer := self._answers.get(message.call)) is not None:
                answer.on_parts(message)
        elif (reply := self._replies.get(message.call)) is not None and not reply.done():
            reply.set_result(message)

    def close(self) -> None:
        """Refuse everything from now on: the worker has forgotten the run."""
        self._is_over = True
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer.cancel()
        for received in self._inputs.values():
            received.cancel()

    def check_running(self) -> None:
        """Raise ValueError after the end of the run."""
        if self._is_over:
            raise ValueError("the run has ended")


class RemoteAnswer:
    """Implements answer.AnswerSource over the connection."""

    def __init__(self, services: WorkerServices, request: AskRequest) -> None:
        self._services = services
        self._request = request
        self._call: int | None = None  # None until the request is sent
        self._received: asyncio.Future[Answered] | None = None
        self._is_complete = False

    async def read(self) -> Answered:
        """See AnswerSource.read."""
        if self._call is None:
            self._received = asyncio.get_running_loop().create_future()
            self._call = self._services.ask(self, self._request)
        assert self._received is not None
        answered = await self._received
        self._is_complete = answered.end is not None
        if not self._is_complete:
            # Already now, so that the next parts come while the function handles these.
            self._received = asyncio.get_running_loop().create_future()
            self._services.ask_more(self._call)
        return answered

    def close(self) -> None:
        """See AnswerSource.close."""
        if self._call is not None:
            self._services.end_answer(self._call, is_complete=self._is_complete)

    def cancel(self) -> None:
        """Cancel whoever waits in `read`: nothing comes any more."""
        if self._received is not None:
            self._received.cancel()

    def on_parts(self, message: Answered) -> None:
        """Take the parts for which `read` waits."""
        if self._received is not None and not self._received.done():
            self._received.set_result(message)
