"""Generation requests of clients: their checks before a generation is queued."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec

from hub import error_codes
from hub.api.authentication import Identity
from hub.api.steering_requests import check_user_message
from hub.core.channel import TopicName, UserId, check_topic, check_user_id
from hub.core.event import check_idempotency_key
from hub.core.generation import GenerationRequest, Message, OnBusy
from hub.core.upstream_models import UpstreamModels
from hub.engine.generations.generations import Generations
from hub.errors import BadRequest, Forbidden, TooLarge
from hub.ports.generations import CreatedGeneration

MAX_CHAT_ID_CHARS: Final = 128
_ON_BUSY: Final = [each.value for each in OnBusy]
_OnBusy = Annotated[str, msgspec.Meta(extra_json_schema={"enum": _ON_BUSY})]
_ChatId = Annotated[
    str, msgspec.Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_CHAT_ID_CHARS})
]
_OnDisconnect = Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["continue", "stop"]})]


class AnswerRecipient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who gets the events of an answer: a user, or everybody who follows a topic.

    With both, the user is the one who asked in the topic.
    """

    user: UserId | None = None
    topic: TopicName | None = None

    def check(self) -> None:
        """Raise BadRequest unless a user or a topic is given, and both are valid."""
        if self.user is None and self.topic is None:
            raise BadRequest("to must name a user or a topic", path="to")
        if self.user is not None:
            check_user_id(self.user, path="to.user")
        if self.topic is not None:
            check_topic(self.topic, path="to.topic")


class GenerateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /generations.

    Give either `prompt` or `messages`. `params` are the upstream's parameters, for example
    `temperature`. `on_disconnect` decides whether the generation continues or stops when the
    client disconnects. `id` is an idempotency key: a request with the same key returns the same
    generation. `metadata` is stored with the generation. `chat` is your id of the conversation.
    `on_busy` decides what happens when the chat has an answer that has not ended: both run
    (`allow`), the request is refused (`reject`), its answer waits (`enqueue`), it stops the other
    one (`interrupt`), or the other one gets its message (`steer`). `to` names a topic whose
    followers get the answer; without it, the user does. `notify` sends a push notification to the
    user's devices when the answer is ready, failed, or needs an input, if no connection shows it.
    """

    prompt: str | None = None
    messages: list[Message] | None = None
    model: str | None = None
    upstream: str | None = None
    params: dict[str, Any] = {}
    on_disconnect: _OnDisconnect = "continue"
    id: str | None = None
    metadata: dict[str, Any] = {}
    chat: _ChatId | None = None
    on_busy: _OnBusy = "allow"
    to: AnswerRecipient | None = None
    notify: bool | None = None

    def decide_on_busy(self) -> OnBusy:
        """Return what the request does when its chat is busy. Raise BadRequest."""
        if self.on_busy not in _ON_BUSY:
            raise BadRequest(f"on_busy must be one of {', '.join(_ON_BUSY)}", path="on_busy")
        on_busy = OnBusy(self.on_busy)
        if on_busy is not OnBusy.ALLOW and self.chat is None:
            raise BadRequest(f"on_busy: {self.on_busy} needs chat, the id of one", path="chat")
        return on_busy

    def stops_on_disconnect(self) -> bool:
        """Return whether the generation stops when its client disconnects. Raise BadRequest."""
        if self.on_disconnect not in ("continue", "stop"):
            raise BadRequest("on_disconnect must be continue or stop", path="on_disconnect")
        return self.on_disconnect == "stop"

    def conversation(self) -> list[Message]:
        """Return the messages, or the prompt as a message.

        Raise BadRequest unless exactly one of the two is given.
        """
        if (self.prompt is None) == (self.messages is None):
            raise BadRequest("give either prompt or messages", path="prompt")
        if self.messages is None:
            if not self.prompt:
                raise BadRequest("prompt is empty", path="prompt")
            return [Message(role="user", content=self.prompt)]
        if not self.messages:
            raise BadRequest("messages is empty", path="messages")
        return self.messages


class GenerationRequests:
    """Checks generation requests and queues them.

    push_after_seconds: when a notification is sent; None if there are no push notifications.
    """

    def __init__(
        self,
        generations: Generations,
        upstreams: Mapping[str, UpstreamModels],
        *,
        default_upstream: str | None,
        max_prompt_bytes: int,
        push_after_seconds: float | None = None,
    ) -> None:
        self._push_after_seconds = push_after_seconds
        self._generations = generations
        self._upstreams = upstreams
        self._default_upstream = default_upstream
        self.max_prompt_bytes = max_prompt_bytes

    async def start(
        self, identity: Identity, body: GenerateBody, key: str | None, *, chat: str | None = None
    ) -> CreatedGeneration:
        """Queue a generation.

        identity: who asks. key: the idempotency key; None means a new generation each time. chat:
        see GenerationRequest.
        Return its id and the position just before its first event.
        Raise CallerError, BrokerUnavailable.
        """
        topic = _allowed_topic(identity, body.to)
        return await self.start_for(identity.user, topic, body, key, chat=chat)

    async def start_for(
        self,
        user: str,
        topic: str | None,
        body: GenerateBody,
        key: str | None,
        *,
        chat: str | None = None,
    ) -> CreatedGeneration:
        """Queue a generation for a user or a topic. The other parameters and errors: as in `start`.

        user: empty for a topic's answer for which no user asked.
        """
        if key is not None:
            check_idempotency_key(key)
        if body.chat is not None:
            chat = check_chat_id(body.chat, path="chat")
        on_busy = body.decide_on_busy()
        notify_seconds = self.notify_seconds(user, body)
        request = self.build_request(body, chat, topic, notify_seconds=notify_seconds)
        if on_busy is OnBusy.STEER:
            path = "prompt" if body.messages is None else f"messages[{len(body.messages) - 1}]"
            check_user_message(request.messages[-1], path=path)
        return await self._generations.start(user, request, key, on_busy)

    def models(self) -> dict[str, str]:
        """Return the upstream of each model, by the name that `find` understands.

        The name is the model's own, or `upstream/model` if two upstreams have the same model.
        """
        models: dict[str, str] = {}
        for upstream, model in self._configured_models():
            name = model if self.find(model) == (upstream, model) else f"{upstream}/{model}"
            models.setdefault(name, upstream)
        return models

    def find(self, name: str | None) -> tuple[str | None, str | None]:
        """Return the upstream and the model of a name, for clients that cannot name an upstream.

        The name is a configured model or `upstream/model`. Any other name is a model of the
        default upstream, which is returned as None.
        """
        if name is None:
            return None, None
        for upstream, model in self._configured_models():
            if model == name:
                return upstream, model
        upstream, _, model = name.partition("/")
        return (upstream, model) if model and upstream in self._upstreams else (None, name)

    def kind_of(self, name: str | None) -> str | None:
        """Return the wire format of an upstream, None if it does not exist. name: None means the
        default upstream.
        """
        upstream = self._upstreams.get(name or self._default_upstream or "")
        return upstream.kind if upstream is not None else None

    def _configured_models(self) -> Iterator[tuple[str, str]]:
        """Yield each upstream with its configured models, the default upstream first."""
        for name in sorted(self._upstreams, key=lambda name: name != self._default_upstream):
            upstream = self._upstreams[name]
            default = [upstream.default_model] if upstream.default_model else []
            for model in dict.fromkeys([*default, *upstream.models]):
                yield name, model

    def build_request(
        self,
        body: GenerateBody,
        chat: str | None,
        topic: str | None,
        *,
        notify_seconds: float | None = None,
    ) -> GenerationRequest:
        """Return what a worker needs to answer. Raise CallerError.

        chat, topic, notify_seconds: checked already.
        """
        messages = body.conversation()
        if sum(len(msgspec.json.encode(message)) for message in messages) > self.max_prompt_bytes:
            raise prompt_too_large(self.max_prompt_bytes)
        name = body.upstream or self._default_upstream
        if name is None:
            raise BadRequest(
                "this hub has no upstream: set HUB_UPSTREAMS__…",
                code=error_codes.UPSTREAM_NOT_CONFIGURED,
                path="upstream",
            )
        upstream = self._upstreams.get(name)
        if upstream is None:
            known = ", ".join(sorted(self._upstreams)) or "none"
            raise BadRequest(
                f"there is no upstream {name!r}; the hub has: {known}",
                code=error_codes.UNKNOWN_UPSTREAM,
                path="upstream",
            )
        return GenerationRequest(
            messages=messages,
            upstream=name,
            model=upstream.choose(name, body.model),
            params=body.params,
            metadata=body.metadata,
            chat=chat,
            topic=topic,
            notify_seconds=notify_seconds,
        )

    def notify_seconds(self, user: str, body: GenerateBody) -> float | None:
        """Return after how many seconds the user is notified, None for not at all.

        user: empty for a topic's answer for which no user asked. Raise BadRequest.
        """
        if not body.notify:
            return None
        if not user:
            raise BadRequest("notify needs a user: to.user", path="notify")
        if self._push_after_seconds is None:
            raise BadRequest("this hub sends no push notifications", path="notify")
        return self._push_after_seconds


def _allowed_topic(identity: Identity, to: AnswerRecipient | None) -> str | None:
    """Return the topic that gets an answer, None for the user. Raise BadRequest, Forbidden."""
    if to is None:
        return None
    to.check()
    if to.user not in (None, identity.user):
        raise Forbidden("you can ask for yourself only", code=error_codes.USER_MISMATCH)
    if to.topic is not None:
        identity.check_may_ask_in(to.topic)
    return to.topic


def check_chat_id(chat: str, *, path: str = "id") -> str:
    """Return a chat's id if it is valid. path: the field that it comes from. Raise BadRequest."""
    if not 1 <= len(chat) <= MAX_CHAT_ID_CHARS or not chat.isprintable():
        raise BadRequest(f"a chat id has 1 to {MAX_CHAT_ID_CHARS} printable characters", path=path)
    return chat


def prompt_too_large(max_bytes: int) -> TooLarge:
    """Return the error for messages of more than `generations.max_prompt_bytes`."""
    return TooLarge(
        f"the messages are larger than {max_bytes} bytes", code=error_codes.PROMPT_TOO_LARGE
    )
