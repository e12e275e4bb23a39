"""SyncHubClient: publishing, producing, admin commands and inputs without an event loop."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

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
from hub_client.errors import HubClientError
from hub_client.generations import (
    InputValue,
    Prompt,
    respond_request,
    steer_request,
    stop_request,
)
from hub_client.inbox_requests import InboxRequests
from hub_client.producing import ProduceOptions
from hub_client.publishing import (
    Publication,
    Published,
    PublishResult,
    To,
    publish_many,
    publish_request,
)
from hub_client.request import Request
from hub_client.retry_policy import RetryPolicy
from hub_client.sync_http import SyncHttpClient, run_blocking
from hub_client.sync_inbox import SyncInbox
from hub_client.sync_jobs import SyncJob, claim_jobs
from hub_client.sync_producer import SyncProducedAnswer

T = TypeVar("T")


class SyncHubClient:
    """`hub = SyncHubClient(internal_url, key)`, for scripts, Django and Celery.

    url, token: the public listener and the user's JWT, for `stop`, `respond` and `steer`. user: the
    user id in `hub dev`, which needs no token.

    One client serves a whole program: threads may share it, and a process may fork after it was
    used. Its methods are those of HubClient; they block, and they raise HubClientError. In a view
    that must not wait, pass `retry=RetryPolicy(max_attempts=1, timeout_seconds=2)`.
    """

    def __init__(
        self,
        internal_url: str | None = None,
        key: str | None = None,
        *,
        url: str | None = None,
        token: str | None = None,
        user: str | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Raise ValueError when a URL is wrong, and when there is none."""
        if internal_url is None and url is None:
            raise ValueError("SyncHubClient needs internal_url or url")
        policy = retry or RetryPolicy()
        self._internal = self._public = None
        if internal_url is not None:
            self._internal = SyncHttpClient(internal_url, key, policy)
        if url is not None:
            self._public = SyncHttpClient(url, token, policy, argument="url")
        self._user_parameter = None if token else user

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections. A later call opens a new one."""
        for client in (self._internal, self._public):
            if client is not None:
                client.close()

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
    ) -> SyncProducedAnswer:
        """See HubClient.generation: `with backend.generation(…) as answer`."""
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
        return SyncProducedAnswer(self._http, options)

    def jobs(self, queue: str, *, lease_seconds: float | None = None) -> Iterator[SyncJob]:
        """See HubClient.jobs: `for job in backend.jobs(…)`, and in it `with job: job.write(…)`."""
        return claim_jobs(self._http, queue, lease_seconds)

    def stop(self, generation: str) -> str:
        """See HubClient.stop."""
        return self._send_public(stop_request(generation, self._user_parameter))

    def respond(
        self,
        generation: str,
        input: str,  # noqa: A002 - the name in the API
        value: Any,
    ) -> InputValue:
        """See HubClient.respond."""
        return self._send_public(respond_request(generation, input, value, self._user_parameter))

    def steer(self, generation: str, message: str | Mapping[str, Any]) -> int:
        """See HubClient.steer."""
        key = uuid.uuid4().hex
        return self._send_public(steer_request(generation, message, key, self._user_parameter))

    @property
    def inbox(self) -> SyncInbox:
        """See HubClient.inbox."""
        return SyncInbox(self._public_http, InboxRequests("inbox", user=self._user_parameter))

    def inbox_of(self, user: str) -> SyncInbox:
        """See HubClient.inbox_of."""
        return SyncInbox(self._http, InboxRequests("users", user, "inbox"))

    def publish(
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
        """See HubClient.publish."""
        item = Publication(to, event, data, idempotency_key, ephemeral, ttl_seconds, inbox, push)
        return self._send(publish_request(item))

    def publish_many(self, items: Iterable[Publication]) -> list[PublishResult]:
        """See HubClient.publish_many."""
        return run_blocking(publish_many(self._http, items))

    def presence(self, user: str | None = None, *, limit: int = 100) -> Presence:
        """See HubClient.presence."""
        return self._send(presence_request(user, limit))

    def nodes(self) -> list[Node]:
        """See HubClient.nodes."""
        return self._send(nodes_request())

    def stored_events(
        self, user: str, *, after: str | None = None, limit: int = 100
    ) -> StoredEvents:
        """See HubClient.stored_events."""
        return self._send(stored_events_request(user, after, limit))

    def disconnect(self, user: str, *, block_seconds: float = 0.0) -> float | None:
        """See HubClient.disconnect."""
        return self._send(disconnect_request(user, block_seconds))

    def revoke(self, jti: str, expires_at: float) -> None:
        """See HubClient.revoke."""
        self._send(revoke_request(jti, expires_at))

    def export_data(self, user: str) -> dict[str, Any]:
        """See HubClient.export_data."""
        return self._send(export_data_request(user))

    def erase_data(self, user: str) -> None:
        """See HubClient.erase_data."""
        self._send(erase_data_request(user))

    @property
    def _http(self) -> SyncHttpClient:
        if self._internal is None:
            raise HubClientError(
                "this method needs the internal listener: SyncHubClient(internal_url, key)"
            )
        return self._internal

    def _send(self, request: Request[T]) -> T:
        return run_blocking(self._http.send(request))

    @property
    def _public_http(self) -> SyncHttpClient:
        if self._public is None:
            raise HubClientError(
                "this method needs the public listener: SyncHubClient(url=…, token=…)"
            )
        return self._public

    def _send_public(self, request: Request[T]) -> T:
        return run_blocking(self._public_http.send(request))
