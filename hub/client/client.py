"""HubClient: the hub's HTTP as calls, its streams as iterators that resume by themselves."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp

from hub.client.answer import Answer
from hub.client.errors import HubClientError
from hub.client.events import EventStream
from hub.client.generation_calls import AskOptions, Prompt, ask_request, stop_request
from hub.client.http import HttpClient
from hub.client.presence import (
    Node,
    Presence,
    StoredEvents,
    disconnect_call,
    nodes_call,
    presence_call,
    revoke_call,
    stored_events_call,
)
from hub.client.publishing import (
    Publication,
    Published,
    PublishResult,
    To,
    publish_call,
    publish_many_steps,
)
from hub.client.retry_policy import RetryPolicy
from hub.client.tokens import Token, Tokens
from hub.client.url import parse_url


class HubClient:
    """`async with HubClient(url, token) as hub: …`. All its calls raise HubClientError.

    token: the user's JWT for the public listener, or a callable, plain or async, that gives a fresh
    one when the hub takes the last no longer. internal_url, key: the internal listener and an API
    key, for publishing and presence. user: who one is in `hub dev`, which needs no tokens; else the
    token says it.
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
        """Raises ValueError for what is no URL."""
        parse_url(url, "url")
        if internal_url is not None:
            parse_url(internal_url, "internal_url")
        self._url = url
        self._tokens = Tokens(token)
        self._internal_url = internal_url
        self._key = Tokens(key)
        self._user = user
        self._named = None if token else user  # where no token says who this is
        self._patience = retry or RetryPolicy()
        self._session: aiohttp.ClientSession | None = None
        self._links: list[HttpClient] = []  # to the public listener, and to the internal one

    async def __aenter__(self) -> Self:
        # As many streams as one likes: each holds a connection.
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._session = session
        self._links = [HttpClient(session, self._url, self._tokens, self._patience)]
        if self._internal_url is not None:
            self._links.append(HttpClient(session, self._internal_url, self._key, self._patience))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for link in self._links:
            link.close()
        self._links = []
        if self._session is not None:
            await self._session.close()
            self._session = None

    def events(
        self, *, topics: Sequence[str] = (), cursor: str = "live", control: bool = False
    ) -> EventStream:
        """The user's stream: events to the user, to all, and to the topics, for ever.

        cursor: where to begin: `live`, `start` (all that the log holds), or a kept
        `EventStream.cursor`. control: hand over the `hub.` events, too; else `hub.reset` is raised
        as StreamReset, and the others are the client's own business.
        """
        return EventStream(self._public(), self._user, topics, cursor, control=control)

    async def ask(
        self,
        question: Prompt,
        *,
        model: str | None = None,
        upstream: str | None = None,
        params: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Answer:
        """Starts an answer to a prompt, or to a conversation's messages.

        idempotency_key: the same one again gives the same answer; one is made where none is given,
        so that the client's own repeats start nothing twice.
        """
        options = AskOptions(model=model, upstream=upstream, params=params, metadata=metadata)
        key = idempotency_key or uuid.uuid4().hex
        link = self._public()
        started = await link.send(ask_request(question, options, key, self._named))
        return Answer(link, self._named, started)

    def join(self, generation: str) -> Answer:
        """An answer asked for before, or elsewhere: what there is so far, then the rest."""
        return Answer(self._public(), self._named, generation)

    async def stop(self, generation: str) -> str:
        """Stops an answer, wherever it runs: `stopping`, or `already ended`."""
        return await self._public().send(stop_request(generation, self._named))

    async def publish(
        self,
        to: To,
        event: str = "notification",
        data: Any = None,
        *,
        idempotency_key: str | None = None,
        ephemeral: bool = False,
        ttl_seconds: float | None = None,
    ) -> list[Published]:
        """Publishes to `{"user": …}`, `{"users": […]}`, `{"topic": …}` or `{"all": True}`; tells
        where it is, for each channel. See Publication for the rest.
        """
        item = Publication(to, event, data, idempotency_key, ephemeral, ttl_seconds)
        return await self._internal().send(publish_call(item))

    async def publish_many(self, items: Iterable[Publication]) -> list[PublishResult]:
        """Publishes any number; a result for each, in order. One that is refused harms no other:
        look for `result.error`. Raises when not even the first chunk got an answer.
        """
        link = self._internal()
        steps = publish_many_steps(items, self._patience)
        try:
            call = next(steps)
            while True:
                try:
                    results = await link.send(call)
                except HubClientError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(results)
        except StopIteration as end:
            every: list[PublishResult] = end.value
            return every

    async def presence(self, user: str | None = None, *, limit: int = 100) -> Presence:
        """Where a user is connected, on all nodes; without a user: who is."""
        return await self._internal().send(presence_call(user, limit))

    async def nodes(self) -> list[Node]:
        """The nodes that live."""
        return await self._internal().send(nodes_call())

    async def stored_events(
        self, user: str, *, after: str | None = None, limit: int = 100
    ) -> StoredEvents:
        """The events that a user's log holds, after a cursor."""
        return await self._internal().send(stored_events_call(user, after, limit))

    async def disconnect(self, user: str, *, block_seconds: float = 0.0) -> float | None:
        """Ends a user's streams on every node, and keeps it out for so long; gives until when (Unix
        seconds).
        """
        return await self._internal().send(disconnect_call(user, block_seconds))

    async def revoke(self, jti: str, expires_at: float) -> None:
        """Refuses a token from now on and ends its streams. expires_at: its `exp`."""
        await self._internal().send(revoke_call(jti, expires_at))

    def _public(self) -> HttpClient:
        if not self._links:
            raise RuntimeError("use the client inside `async with`")
        return self._links[0]

    def _internal(self) -> HttpClient:
        if self._internal_url is None:
            raise HubClientError("this needs the internal listener: HubClient(…, internal_url=…)")
        self._public()
        return self._links[1]
