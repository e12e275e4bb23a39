"""HubClient: the hub's HTTP API as methods, and its streams as iterators that resume."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp

from hub_client.admin import (
    Node,
    Presence,
    StoredEvents,
    disconnect_request,
    erase_data_request,
    export_data_request,
    nodes_request,
    presence_request,
    revoke_request,
    stored_events_request,
)
from hub_client.answer import Answer
from hub_client.errors import HubClientError
from hub_client.event_stream import EventStream
from hub_client.generations import (
    AskOptions,
    InputValue,
    Prompt,
    respond_request,
    start_request,
    steer_request,
    stop_request,
)
from hub_client.http import HttpClient, Token, TokenSource
from hub_client.inbox import Inbox
from hub_client.inbox_requests import InboxRequests
from hub_client.jobs import Job, Worker, claim_jobs
from hub_client.producer import ProducedAnswer
from hub_client.producing import ProduceOptions
from hub_client.publishing import (
    Publication,
    Published,
    PublishResult,
    To,
    publish_many,
    publish_request,
)
from hub_client.request import parse_url
from hub_client.retry_policy import RetryPolicy


class HubClient:
    """`async with HubClient(url, token) as hub: …`. Every method raises HubClientError.

    url: the public listener.
    token: the user's JWT, or a callable, plain or async, that returns a new one whenever the hub no
    longer accepts the last one.
    internal_url, key: the internal listener and an API key, for publishing and admin commands.
    user: the user id in `hub dev`, which needs no token. Otherwise the token names the user.
    retry: how requests are retried; the defaults are those of RetryPolicy.
    """

    def __init__(
        self,
        url: str,
        token: Token = None,
        *,
        internal_url: str | None = None,
        key: str | None = None,
        user: str | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Raise ValueError when a URL is wrong."""
        parse_url(url, "url")
        if internal_url is not None:
            parse_url(internal_url, "internal_url")
        self._url = url
        self._tokens = TokenSource(token)
        self._internal_url = internal_url
        self._key = TokenSource(key)
        self._user = user
        self._user_parameter = None if token else user  # `?user=`, where no token names the user
        self._retry_policy = retry or RetryPolicy()
        self._session: aiohttp.ClientSession | None = None
        # Both exist inside `async with` only; the second one needs an internal_url.
        self._public: HttpClient | None = None
        self._internal: HttpClient | None = None

    async def __aenter__(self) -> Self:
        # Every stream needs a connection, and their number is not limited.
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        policy = self._retry_policy
        self._session = session
        self._public = HttpClient(session, self._url, self._tokens, policy)
        if self._internal_url is not None:
            self._internal = HttpClient(session, self._internal_url, self._key, policy)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in (self._public, self._internal):
            if client is not None:
                client.close()
        self._public = self._internal = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    def events(
        self, *, topics: Sequence[str] = (), cursor: str = "live", control: bool = False
    ) -> EventStream:
        """Return the user's event stream, which does not end.

        It has the events to the user, to all users, and to the topics.

        cursor: where it begins: `live`, `start` (everything that the log holds), or an
        `EventStream.cursor` of an earlier stream.
        control: also yield the events whose name begins with `hub.`. Without it the stream raises
        `hub.reset` as StreamReset, and the client handles the others itself.
        """
        return EventStream(self._public_client(), self._user, topics, cursor, control=control)

    async def ask(
        self,
        prompt: Prompt,
        *,
        model: str | None = None,
        upstream: str | None = None,
        params: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        chat: str | None = None,
        on_busy: str | None = None,
        topic: str | None = None,
        notify: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Start a generation and return its answer.

        prompt: a text, or the messages of a conversation.
        params: model parameters, such as `temperature`.
        chat: your id of the conversation. on_busy: what happens while an answer of the chat has not
        ended: `allow` (default) runs both, `reject` raises BadRequest, whose `generation` is that
        answer, `enqueue` waits for it, `interrupt` stops it, and `steer` sends it the prompt and
        returns it.
        topic: the topic whose followers get the answer, in place of the user; the token needs the
        claim `ask_topics`.
        notify: push a notification to the user's devices when the answer is ready, failed, or needs
        an input, if no connection of the user takes that event.
        idempotency_key: the same key again returns the same answer. The client creates one when it
        is None, so that its own retries start nothing twice.
        """
        options = AskOptions(
            model=model,
            upstream=upstream,
            params=params,
            metadata=metadata,
            chat=chat,
            on_busy=on_busy,
            topic=topic,
            notify=notify,
        )
        key = idempotency_key or uuid.uuid4().hex
        client = self._public_client()
        started = await client.send(start_request(prompt, options, key, self._user_parameter))
        if on_busy == "steer":  # the running answer, whose beginning is before the cursor
            return Answer(client, self._user_parameter, started.generation)
        return Answer(client, self._user_parameter, started)

    def join(self, generation: str) -> Answer:
        """Return the answer of a generation that was started before, or elsewhere.

        It has the text so far, and then the rest.
        """
        return Answer(self._public_client(), self._user_parameter, generation)

    async def stop(self, generation: str) -> str:
        """Stop a generation. Return `stopping` or `already ended`."""
        request = stop_request(generation, self._user_parameter)
        return await self._public_client().send(request)

    async def respond(
        self,
        generation: str,
        input: str,  # noqa: A002 - the name in the API
        value: Any,
    ) -> InputValue:
        """Give a generation the value of an input, and return what counts.

        The user has asked, or the input names the user as approver. input: the key of the input.
        value: JSON; one of its `options`, or what matches its `schema`. The first value counts:
        another one raises BadRequest with the code `input_answered`, `value` and `by`.
        """
        request = respond_request(generation, input, value, self._user_parameter)
        return await self._public_client().send(request)

    async def steer(self, generation: str, message: str | Mapping[str, Any]) -> int:
        """Send another message to the code that produces a generation, and return its number.

        message: a text, or a message of a conversation. The answer of an LLM endpoint takes none:
        BadRequest with the code `not_steerable`.
        """
        request = steer_request(generation, message, uuid.uuid4().hex, self._user_parameter)
        return await self._public_client().send(request)

    def generation(
        self,
        *,
        user: str | None = None,
        topic: str | None = None,
        id: str | None = None,  # noqa: A002 - the name in the API
        model: str | None = None,
        messages: Prompt | None = None,
        metadata: Mapping[str, Any] | None = None,
        chat: str | None = None,
        on_busy: str | None = None,
        notify: bool | None = None,
        lease_seconds: float | None = None,
    ) -> ProducedAnswer:
        """Return an answer that this program writes: `async with backend.generation(…) as answer`.

        It needs the internal listener and an API key with the scope `produce`. user, topic: who
        gets it. id: the idempotency key: the same one again begins a new attempt at the answer.
        model: what readers see. messages: what was asked, for the record. chat, on_busy: as in
        `ask`; `allow` or `reject`. notify: as in `ask`. lease_seconds: how long the answer lives
        without this program.
        """
        options = ProduceOptions(
            user=user,
            topic=topic,
            id=id or uuid.uuid4().hex,
            model=model,
            messages=messages,
            metadata=metadata,
            chat=chat,
            on_busy=on_busy,
            notify=notify,
            lease_seconds=lease_seconds,
        )
        return ProducedAnswer(self._internal_client(), options)

    def jobs(self, queue: str, *, lease_seconds: float | None = None) -> AsyncIterator[Job]:
        """Return the questions to an upstream of the kind `queue`, one after another, without end.

        `async for job in backend.jobs("support")`, and in it `async with job: await job.write(…)`.
        A job that is not ended when the next one is requested returns to the queue.
        """
        return claim_jobs(self._internal_client(), queue, lease_seconds)

    def worker(
        self, queue: str, *, max_running: int = 1, lease_seconds: float | None = None
    ) -> Callable[[Callable[[Job], Any]], Worker]:
        """Return a decorator that makes a function the worker of a queue: see Worker.

        max_running: how many questions it answers at a time.
        """
        return lambda function: Worker(
            lambda: self.jobs(queue, lease_seconds=lease_seconds), function, max_running=max_running
        )

    @property
    def inbox(self) -> Inbox:
        """The user's own inbox."""
        return Inbox(self._public_client, InboxRequests("inbox", user=self._user_parameter))

    def inbox_of(self, user: str) -> Inbox:
        """Return the inbox of a user, on the internal listener."""
        return Inbox(self._internal_client, InboxRequests("users", user, "inbox"))

    async def publish(
        self,
        to: To,
        event: str = "notification",
        data: Any = None,
        *,
        idempotency_key: str | None = None,
        ephemeral: bool = False,
        ttl_seconds: float | None = None,
        inbox: bool | Mapping[str, Any] = False,
        push: Mapping[str, Any] | None = None,
    ) -> list[Published]:
        """Publish one event and return one result for each channel.

        to: `{"user": …}`, `{"users": […]}`, `{"topic": …}` or `{"all": True}`.
        Publication describes the other parameters.
        """
        item = Publication(to, event, data, idempotency_key, ephemeral, ttl_seconds, inbox, push)
        return await self._internal_client().send(publish_request(item))

    async def publish_many(self, items: Iterable[Publication]) -> list[PublishResult]:
        """Publish any number of events and return one result for each, in the same order.

        An event that the hub refuses does not affect the others: check `result.error`.
        Raise HubClientError when the first chunk (1,000 items or 192 KiB) gets no response.
        """
        return await publish_many(self._internal_client(), items)

    async def presence(self, user: str | None = None, *, limit: int = 100) -> Presence:
        """Return the connections of a user, or of all users, on all nodes."""
        return await self._internal_client().send(presence_request(user, limit))

    async def nodes(self) -> list[Node]:
        """Return the running nodes."""
        return await self._internal_client().send(nodes_request())

    async def stored_events(
        self, user: str, *, after: str | None = None, limit: int = 100
    ) -> StoredEvents:
        """Return the events of a user's log that come after a cursor; None is its beginning."""
        return await self._internal_client().send(stored_events_request(user, after, limit))

    async def disconnect(self, user: str, *, block_seconds: float = 0.0) -> float | None:
        """Close a user's connections on all nodes, and block the user for this time.

        Return the end of the block in Unix seconds, or None when there is none.
        """
        return await self._internal_client().send(disconnect_request(user, block_seconds))

    async def revoke(self, jti: str, expires_at: float) -> None:
        """Revoke a token and close the connections that use it.

        jti, expires_at: the claims `jti` and `exp` of the token.
        """
        await self._internal_client().send(revoke_request(jti, expires_at))

    async def export_data(self, user: str) -> dict[str, Any]:
        """Return everything that the hub keeps about a user, as docs/guides/user-data.md says."""
        return await self._internal_client().send(export_data_request(user))

    async def erase_data(self, user: str) -> None:
        """Stop the answers of a user, and erase everything that the hub keeps about the user."""
        await self._internal_client().send(erase_data_request(user))

    def _public_client(self) -> HttpClient:
        if self._public is None:
            raise RuntimeError("use the client inside `async with`")
        return self._public

    def _internal_client(self) -> HttpClient:
        if self._internal_url is None:
            raise HubClientError(
                "this method needs the internal listener: HubClient(…, internal_url=…)"
            )
        if self._internal is None:
            raise RuntimeError("use the client inside `async with`")
        return self._internal
