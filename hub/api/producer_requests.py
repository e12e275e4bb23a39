"""Requests of the application's own producers: who may send them, and their checks."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from hub.api.api_keys import ApiKeys
from hub.api.authentication import Identity
from hub.api.generation_requests import (
    AnswerRecipient,
    GenerateBody,
    GenerationRequests,
    check_chat_id,
    prompt_too_large,
)
from hub.api.request_context import RequestContext
from hub.api.streams import StreamRequest
from hub.core.event import check_idempotency_key
from hub.core.external_producer import (
    DEFAULT_LEASE_SECONDS,
    EXTERNAL,
    MAX_LEASE_SECONDS,
    MIN_LEASE_SECONDS,
)
from hub.core.generation import GenerationRequest, OnBusy
from hub.engine.external.control_stream import ControlStream
from hub.engine.external.external_producers import ExternalProducers, StartedAttempt
from hub.engine.external.lease_watch import LeaseWatch
from hub.errors import BadRequest
from hub.ports.generations import CreatedGeneration

PRODUCE: Final = "produce"
"""The scope of API keys that these requests need."""

LEASE_HEADER: Final = "Hub-Lease"
LeaseSeconds = Annotated[
    float,
    msgspec.Meta(extra_json_schema={"minimum": MIN_LEASE_SECONDS, "maximum": MAX_LEASE_SECONDS}),
]

_Producer = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [EXTERNAL]})]


class ProduceBody(GenerateBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /generations of a backend.

    `to` names the user, or a topic, and then perhaps the user who asked in it. With
    `producer: external` your process posts the parts: the answer has a lease of `lease_seconds`,
    `model` is what readers see, and `prompt` or `messages` are optional. Without it, an upstream
    answers, and the other fields are those of the public listener.
    """

    to: AnswerRecipient
    producer: _Producer | None = None
    lease_seconds: LeaseSeconds | None = None


class ProducerRequests:
    """Checks what producers send, and passes it on."""

    def __init__(
        self, producers: ExternalProducers, requests: GenerationRequests, keys: ApiKeys
    ) -> None:
        self._requests = requests
        self._keys = keys
        self.producers = producers
        self._lease_watch = LeaseWatch(producers.find)

    def authenticate(self, request: RequestContext) -> str:
        """Return the name of the request's API key. Raise Unauthorized, Forbidden."""
        return self._keys.check(request, PRODUCE)

    async def start(
        self, body: ProduceBody, idempotency_key: str | None
    ) -> StartedAttempt | CreatedGeneration:
        """Start an answer. Raise CallerError, BrokerUnavailable."""
        body.to.check()
        user, topic = body.to.user or "", body.to.topic
        if body.stops_on_disconnect():
            raise BadRequest(
                "a backend has no stream here: on_disconnect is continue", path="on_disconnect"
            )
        if body.producer not in (None, EXTERNAL):
            raise BadRequest(f"producer is {EXTERNAL}, or is left out", path="producer")
        if body.producer is None:
            if body.lease_seconds is not None:
                raise BadRequest(
                    'lease_seconds belongs to "producer": "external"', path="lease_seconds"
                )
            return await self._requests.start_for(user, topic, body, idempotency_key)
        if idempotency_key is not None:
            check_idempotency_key(idempotency_key)
        on_busy = body.decide_on_busy()
        if on_busy not in (OnBusy.ALLOW, OnBusy.REJECT):
            raise BadRequest(
                "the answer of an external producer begins at once: on_busy is allow or reject",
                path="on_busy",
            )
        return await self.producers.start(
            user,
            self._external_request(user, body),
            idempotency_key,
            lease_seconds=check_lease_seconds(body.lease_seconds),
            on_busy=on_busy,
        )

    async def open_control(self, generation: str, lease: str) -> StreamRequest:
        """Return the stream of the signals of an attempt.

        Raise NotFound; Conflict when the lease is void or the answer has ended, unless somebody
        stopped it; BrokerUnavailable.
        """
        record, position = await self.producers.open_control(generation, lease)
        return StreamRequest(
            # A user id has no white space, and each stream counts as that of another user.
            identity=Identity(f"hub producer {generation}"),
            channels=[record.channel],
            cursor={record.channel: position},
            view=ControlStream(record),
            on_attach=lambda connection: self._lease_watch.watch(connection, record),
        )

    def _external_request(self, user: str, body: ProduceBody) -> GenerationRequest:
        if body.upstream is not None:
            raise BadRequest(
                "an external producer answers itself: leave out upstream", path="upstream"
            )
        messages = []
        if body.prompt is not None or body.messages is not None:
            messages = body.conversation()
        max_bytes = self._requests.max_prompt_bytes
        if sum(len(msgspec.json.encode(message)) for message in messages) > max_bytes:
            raise prompt_too_large(max_bytes)
        return GenerationRequest(
            messages,
            upstream=EXTERNAL,
            model=EXTERNAL if body.model is None else body.model,
            params=body.params,
            metadata=body.metadata,
            chat=None if body.chat is None else check_chat_id(body.chat, path="chat"),
            topic=body.to.topic,
            producer=EXTERNAL,
            notify_seconds=self._requests.notify_seconds(user, body),
        )


def check_lease_seconds(seconds: float | None) -> float:
    """Return the length of a lease, by default 30 seconds. Raise BadRequest."""
    if seconds is None:
        return DEFAULT_LEASE_SECONDS
    if not MIN_LEASE_SECONDS <= seconds <= MAX_LEASE_SECONDS:  # false for NaN
        raise BadRequest(
            f"lease_seconds is between {MIN_LEASE_SECONDS:g} and {MAX_LEASE_SECONDS:g}",
            path="lease_seconds",
        )
    return seconds


def lease_of(request: RequestContext) -> str:
    """Return the lease in the header. Raise BadRequest without one."""
    lease = request.headers.get(LEASE_HEADER, "")
    if not lease:
        raise BadRequest(f"send the lease in the header {LEASE_HEADER}", path=LEASE_HEADER)
    return lease
