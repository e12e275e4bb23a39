"""A question as a client sends it, and what the node checks before it is queued."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from hub.core.event import check_idempotency_key
from hub.core.generation import GenerationRequest, Message
from hub.engine.generations import Generations
from hub.errors import BadRequest, TooLarge
from hub.ports.generations import CreatedGeneration


class UpstreamModels(msgspec.Struct, frozen=True):
    """What the node knows of an upstream: enough to refuse a question that no worker could ask.

    models: the models it takes; empty when it takes any.
    """

    default_model: str | None
    models: Sequence[str] = ()


_OnDisconnect = Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["continue", "stop"]})]


class GenerateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /generations."""

    prompt: str | None = None
    messages: list[Message] | None = None
    model: str | None = None
    upstream: str | None = None
    params: dict[str, Any] = {}
    on_disconnect: _OnDisconnect = "continue"
    id: str | None = None
    metadata: dict[str, Any] = {}

    def stops_on_disconnect(self) -> bool:
        """Whether who leaves stops the answer. Raises BadRequest."""
        if self.on_disconnect not in ("continue", "stop"):
            raise BadRequest("on_disconnect is continue or stop", path="on_disconnect")
        return self.on_disconnect == "stop"

    def conversation(self) -> list[Message]:
        """The messages, or the prompt as one. Raises BadRequest unless there is one of the two."""
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
    """From what a client sends to a question that is queued."""

    def __init__(
        self,
        generations: Generations,
        upstreams: Mapping[str, UpstreamModels],
        *,
        default_upstream: str | None,
        max_prompt_bytes: int,
    ) -> None:
        self._generations = generations
        self._upstreams = upstreams
        self._default_upstream = default_upstream
        self.max_prompt_bytes = max_prompt_bytes

    async def start(
        self, user: str, body: GenerateBody, key: str | None, *, chat: str | None = None
    ) -> CreatedGeneration:
        """Raises CallerError and BrokerUnavailable. chat: see Question."""
        if key is not None:
            check_idempotency_key(key)
        return await self._generations.start(user, self._generation_request(body, chat), key)

    def models(self) -> dict[str, str]:
        """By which name a client that knows no upstreams asks for each model, and whose it is."""
        found: dict[str, str] = {}
        for upstream, model in self._known():
            name = model if self.find(model) == (upstream, model) else f"{upstream}/{model}"
            found.setdefault(name, upstream)
        return found

    def find(self, name: str | None) -> tuple[str | None, str | None]:
        """The upstream and the model that a name stands for: a model that one of them names, or
        `upstream/model`; else it is the default upstream's to know.
        """
        if name is None:
            return None, None
        for upstream, model in self._known():
            if model == name:
                return upstream, model
        upstream, _, model = name.partition("/")
        return (upstream, model) if model and upstream in self._upstreams else (None, name)

    def _known(self) -> Iterator[tuple[str, str]]:
        """Upstreams and the models that they name, the default upstream's first."""
        for name in sorted(self._upstreams, key=lambda name: name != self._default_upstream):
            choice = self._upstreams[name]
            models = dict.fromkeys([*([choice.default_model] if choice.default_model else []),
                                    *choice.models])  # fmt: skip
            for model in models:
                yield name, model

    def _generation_request(self, body: GenerateBody, chat: str | None) -> GenerationRequest:
        messages = body.conversation()
        if sum(len(msgspec.json.encode(message)) for message in messages) > self.max_prompt_bytes:
            raise TooLarge(f"the question is larger than {self.max_prompt_bytes} bytes")
        name = body.upstream or self._default_upstream
        if name is None:
            raise BadRequest("this hub has no upstream; set HUB_UPSTREAMS__…", path="upstream")
        upstream = self._upstreams.get(name)
        if upstream is None:
            known = ", ".join(sorted(self._upstreams)) or "none"
            raise BadRequest(f"there is no upstream {name!r}; known: {known}", path="upstream")
        model = body.model or upstream.default_model or next(iter(upstream.models), None)
        if model is None:
            raise BadRequest(f"say which model of {name!r} should answer", path="model")
        if upstream.models and model not in upstream.models:
            known = ", ".join(upstream.models)
            raise BadRequest(f"{name!r} has no model {model!r}; known: {known}", path="model")
        return GenerationRequest(
            messages=messages,
            upstream=name,
            model=model,
            params=body.params,
            metadata=body.metadata,
            chat=chat,
        )
