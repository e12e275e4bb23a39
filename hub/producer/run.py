"""A run: one call of a function for one generation, as the function sees it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from hub.core.durable import AskInput, Save
from hub.core.messages import last_prompt
from hub.core.steering import SteeringMessage
from hub.producer.answer import (
    Answer,
    AnswerSource,
    AskRequest,
    SyncAnswer,
    UpstreamMessages,
    build_request,
    encode_value,
)
from hub.producer.inputs import InputCalls, InputServices, Suspend
from hub.producer.inputs import build_request as build_input_request
from hub.producer.steering import ReceivedMessages
from hub.producer.steps import CommandBuffer, DurableCalls, call, decode, wait_for


class RunCheckpoint(msgspec.Struct, frozen=True):
    """What a run continues. value: JSON. previous: the folded parts up to the checkpoint."""

    value: msgspec.Raw
    previous: list[dict[str, Any]]


class RunContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is for. The fields mean the same as in Run.

    results: those of the steps of earlier attempts, JSON by name. inputs: the values of inputs that
    are known, JSON by key. steering: the messages of the user that the function has not taken;
    steering_taken: the number of those that it has.
    """

    user: str
    generation: str
    attempt: int
    chat: str | None
    messages: list[dict[str, Any]]
    model: str
    params: dict[str, Any]
    metadata: dict[str, Any]
    timeout_seconds: float | None = None
    results: dict[str, msgspec.Raw] = {}
    checkpoint: RunCheckpoint | None = None
    steering: list[SteeringMessage] = []
    steering_taken: int = 0
    inputs: dict[str, msgspec.Raw] = {}


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A notification that a function publishes. data: JSON. The options are those of `publish`."""

    event: str
    data: msgspec.Raw
    id: str | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None


class RunServices(InputServices, Protocol):
    """What a run asks of its worker."""

    async def publish(self, notification: Notification) -> None:
        """Publish a notification. Raise ValueError, ConnectionError."""
        ...

    def open_answer(self, request: AskRequest) -> AnswerSource:
        """Return the answer of an upstream, which is asked at the first read."""
        ...


class _BaseRun:
    """The attributes of a run.

    user: who asks. generation: the id of the answer. attempt: counts the calls of the function for
    this answer, from 1. chat: the id of the user's conversation, None outside of one. messages: the
    conversation, each message in the form of OpenAI's chat completions. model, params, metadata:
    those of the request. state: the value of the app's lifespan, None without one. deadline: the
    time at which the run is cancelled, in Unix seconds; None without a limit. The time for which it
    waits for input does not count.

    If an earlier attempt has saved a checkpoint, this one continues there. checkpoint: its value.
    previous: the parts up to it, folded, which remain (docs/reference/events.md,
    generation.snapshot). Otherwise they are None and empty.
    """

    def __init__(self, context: RunContext, state: Any, deadline: float | None) -> None:
        self.user = context.user
        self.generation = context.generation
        self.attempt = context.attempt
        self.chat = context.chat
        self.messages = context.messages
        self.model = context.model
        self.params = context.params
        self.metadata = context.metadata
        self.state = state
        self._deadline = deadline
        saved = context.checkpoint
        self.checkpoint: Any = None if saved is None else decode(saved.value)
        self.previous: list[dict[str, Any]] = [] if saved is None else saved.previous

    @property
    def prompt(self) -> str:
        """The text of the last message of the user; empty if there is none."""
        return last_prompt(self.messages)

    def idempotency_key(self, name: str) -> str:
        """Return a key for the callee of a step, the same in each attempt of this answer."""
        return f"{self.generation}/{name}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.generation} attempt={self.attempt}>"


class Run(_BaseRun):
    """A run of an asynchronous function. inputs: the values of inputs so far, by key."""

    def __init__(
        self,
        context: RunContext,
        state: Any,
        deadline: float | None,
        services: RunServices,
        output: CommandBuffer,
    ) -> None:
        super().__init__(context, state, deadline)
        self._services = services
        self._durable = DurableCalls(context.results, self.previous, output)
        self._received = ReceivedMessages(context.steering, context.steering_taken)
        self._inputs = InputCalls(context.inputs, output, services)

    @property
    def deadline(self) -> float | None:
        return None if self._deadline is None else self._deadline + self._inputs.waited_seconds

    @property
    def inputs(self) -> dict[str, Any]:
        return self._inputs.values

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        visible: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Call `fn(*args, **kwargs)` once for this answer, and return its result.

        The result is stored under the name before this returns, and a later attempt gets it
        without a call. It is JSON, and returned as JSON reads it: a tuple as a list. fn: may be
        synchronous; then it runs in a thread. visible: whether readers see the step.
        If the process is lost between the call and the store, a later attempt calls `fn` again:
        pass `idempotency_key(name)` to whatever must not happen twice.
        Raise TypeError for a result that is no JSON, ValueError for one that is too large and for a
        name that this run has used before, and what fn raises.
        """
        stored = await self._durable.begin(name, visible=visible)
        if stored is not None:
            return stored[0]
        return await self._durable.finish(name, await call(fn, args, kwargs), visible=visible)

    async def input(
        self,
        key: str,
        prompt: str,
        *,
        options: Sequence[str] | None = None,
        schema: Any = None,
        timeout_seconds: float = 3600.0,
        approvers: Sequence[str] | None = None,
        tool_call: str | None = None,
    ) -> Any:
        """Ask the user for a value, and return it: JSON.

        key: a name of your own, 1 to 256 characters but not `.` or `..`, once in each answer; an
        attempt that follows a lost one gets the value without asking again. prompt: what is asked.
        options: the texts from which the value is chosen. schema: a JSON Schema of the value, which
        refers only to itself. timeout_seconds: how long a value is waited for; it does not count as
        running time.
        approvers: users who may answer beside the user; they get the request in their own channels.
        tool_call: the id of the tool call that the value approves.
        Raise InputTimeout if nobody answers in time, TypeError and ValueError for a wrong request
        and for a key that this run has used before.
        """
        return await self._inputs.ask(
            build_input_request(
                key,
                prompt,
                options=options,
                schema=schema,
                timeout_seconds=timeout_seconds,
                approvers=approvers,
                tool_call=tool_call,
            )
        )

    async def save(self, value: Any) -> None:
        """Publish the parts yielded so far, and save a checkpoint behind them.

        A later attempt continues there: it gets the value as `checkpoint`, and readers keep these
        parts. value: JSON. Raise TypeError, and ValueError if it is too large.
        """
        await self._durable.save(value, self._received.taken)

    def build_suspension(self, suspend: Suspend) -> AskInput:
        """Return the command that ends this attempt. Raise ValueError for an answered input."""
        key = suspend.request.input
        if key in self.inputs:
            raise ValueError(f"the input {key!r} has a value, which run.inputs has: do not suspend")
        return AskInput(suspend.request, Save(msgspec.Raw(suspend.state), self._received.taken))

    def steering(self) -> list[SteeringMessage]:
        """Return the messages that the user has sent while the answer runs, since the last call.

        Each has its `message` in the form of OpenAI's chat completions, its `text`, its number `n`
        and who sent it, `by`. This does not wait.
        An attempt that follows a lost one gets all messages again; if it continues from a
        checkpoint, only those that had not been returned when that was saved.
        """
        return self._received.take()

    def add_steering(self, messages: Sequence[SteeringMessage]) -> None:
        """Take messages from the worker."""
        self._received.add(messages)

    async def _take_steering(self) -> list[SteeringMessage]:
        return self.steering()

    async def restart(self) -> None:
        """Begin the answer anew: discard the checkpoint and all parts so far.

        The results of steps remain.
        """
        await self._durable.restart()
        self.checkpoint, self.previous = None, []

    def ask(
        self,
        messages: UpstreamMessages,
        upstream: str | None = None,
        model: str | None = None,
        **params: Any,
    ) -> Answer:
        """Ask an upstream of the settings, and return its answer: `async for part in answer`.

        messages: a text of the user, or messages in the form of OpenAI's chat completions.
        upstream: its name; None means the first one that is no function. model: one of its models;
        None means its default. params: `temperature` and others, as in `POST /generations`.
        Raise TypeError for what is no JSON, ValueError for an empty conversation. The answer raises
        ValueError for a request that the hub refuses, UpstreamFailed when the upstream fails.
        """
        return Answer(self._open_answer(messages, upstream, model, params))

    def _open_answer(
        self, messages: Any, upstream: str | None, model: str | None, params: dict[str, Any]
    ) -> AnswerSource:
        return self._services.open_answer(build_request(messages, upstream, model, params))

    async def publish(
        self,
        event: str,
        data: Any,
        *,
        id: str | None = None,  # noqa: A002 - the name of the field of POST /publish
        ephemeral: bool = False,
        ttl_seconds: float | None = None,
    ) -> None:
        """Publish a notification to the same user.

        data: a JSON value. id: an idempotency key. ephemeral: only to connections of now.
        ttl_seconds: how long a client that reconnects still gets it.
        Raise TypeError for data that is no JSON value, ValueError for a notification that the hub
        refuses, ConnectionError if Redis is not available.
        """
        encoded = encode_value(data, "data")
        await self._services.publish(
            Notification(
                event=event, data=encoded, id=id, ephemeral=ephemeral, ttl_seconds=ttl_seconds
            )
        )


class SyncRun(_BaseRun):
    """A run of a synchronous function, which runs in a thread: its methods block.

    inputs: as in Run.
    """

    def __init__(
        self,
        run: Run,
        context: RunContext,
        call: Callable[..., Any],
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        super().__init__(context, run.state, run.deadline)
        self._run = run
        self._call = call  # runs a coroutine on the event loop and returns its result
        self._post = post  # calls a function on the event loop, and does not wait

    @property
    def deadline(self) -> float | None:
        return self._run.deadline

    @property
    def inputs(self) -> dict[str, Any]:
        return self._run.inputs

    def input(self, key: str, prompt: str, **options: Any) -> Any:
        """See Run.input. Raise Stopped when the run was stopped."""
        return self._call(self._run.input(key, prompt, **options))

    def ask(
        self,
        messages: UpstreamMessages,
        upstream: str | None = None,
        model: str | None = None,
        **params: Any,
    ) -> SyncAnswer:
        """See Run.ask: `for part in answer`. Raise Stopped when the run was stopped."""
        source = self._run._open_answer(messages, upstream, model, params)
        return SyncAnswer(source, self._call, self._post)

    def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        visible: bool = True,
        **kwargs: Any,
    ) -> Any:
        """See Run.step. fn runs in the thread of the function. Raise Stopped."""
        durable = self._run._durable
        stored = self._call(durable.begin(name, visible=visible))
        if stored is not None:
            return stored[0]
        result = fn(*args, **kwargs)
        if inspect.isawaitable(result):
            result = self._call(wait_for(result))
        return self._call(durable.finish(name, result, visible=visible))

    def save(self, value: Any) -> None:
        """See Run.save. Raise Stopped when the run was stopped."""
        self._call(self._run.save(value))

    def restart(self) -> None:
        """See Run.restart. Raise Stopped when the run was stopped."""
        self._call(self._run.restart())
        self.checkpoint, self.previous = None, []

    def steering(self) -> list[SteeringMessage]:
        """See Run.steering. Raise Stopped when the run was stopped."""
        messages: list[SteeringMessage] = self._call(self._run._take_steering())
        return messages

    def publish(self, event: str, data: Any, **options: Any) -> None:
        """See Run.publish. Raise Stopped when the run was stopped."""
        self._call(self._run.publish(event, data, **options))
