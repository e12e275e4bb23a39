"""Chat completions, completions of prompts, and models, for OpenAI's SDKs and other clients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

from hub.api.authentication import Identity
from hub.api.generation_requests import GenerateBody
from hub.compat.answer_state import AnswerCollector, AnswerState
from hub.compat.anthropic.models import is_anthropic_client, model_info, model_list
from hub.compat.failures import failure_response
from hub.compat.openai_chat.encoder import ChatCompletionEncoder, chat_completion
from hub.compat.openai_chat.requests import ChatBody, read_chat
from hub.compat.openai_chat.text_completion import (
    CompletionBody,
    TextCompletionEncoder,
    read_completion,
    text_completion,
)
from hub.compat.operations import answer_operation
from hub.compat.requests import CompatRequests, location_of
from hub.core.generation import Generation
from hub.error_codes import MODEL_NOT_FOUND
from hub.errors import NotFound
from hub.http.json_body import json_response
from hub.http.parameters import OPEN_USER
from hub.http.routing import (
    USER,
    Operation,
    Parameter,
    build_routes,
    json,
)


class ChatRoutes:
    """Routes of the public listener."""

    def __init__(self, compat: CompatRequests) -> None:
        self._compat = compat

    def routes(self) -> list[web.RouteDef]:
        return build_routes(self)

    @answer_operation(
        "/v1/chat/completions",
        "OpenAI: create a chat completion",
        ChatBody,
        "A chat completion, or its chunks",
        operation_id="createChatCompletion",
    )
    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Generate an answer: as a stream with `stream`, otherwise complete in one object."""
        identity = await self._compat.identify(request)
        body, generate = read_chat(await self._compat.read_body(request))
        return await self._answer(
            request,
            identity,
            body,
            generate,
            encoder=ChatCompletionEncoder,
            document=chat_completion,
        )

    @answer_operation(
        "/v1/completions",
        "OpenAI: create a completion of a prompt",
        CompletionBody,
        "A completion, or its chunks",
        operation_id="createCompletion",
    )
    async def complete_prompt(self, request: web.Request) -> web.StreamResponse:
        """Generate an answer to a prompt: as a stream with `stream`, otherwise in one object."""
        identity = await self._compat.identify(request)
        body, generate = read_completion(await self._compat.read_body(request))
        return await self._answer(
            request,
            identity,
            body,
            generate,
            encoder=TextCompletionEncoder,
            document=text_completion,
        )

    async def _answer(
        self,
        request: web.Request,
        identity: Identity,
        body: ChatBody | CompletionBody,
        generate: GenerateBody,
        *,
        encoder: type[ChatCompletionEncoder],
        document: Callable[[Generation, AnswerState], dict[str, Any]],
    ) -> web.StreamResponse:
        """Start the generation, and send its chunks or, at its end, one document."""
        created = await self._compat.start(request, identity, generate)
        stop = body.on_disconnect == "stop"
        if body.stream:
            options = body.stream_options
            usage = bool(options and options.include_usage)
            return await self._compat.stream(
                request,
                identity,
                created.generation,
                partial(encoder, include_usage=usage),
                stop_on_disconnect=stop,
                holds_status=True,
            )
        collected = await self._compat.wait_for_answer(
            request, identity, created.generation, AnswerCollector, stop_on_disconnect=stop
        )
        if collected.answer.status != "done":
            return failure_response(collected.answer)
        answer = document(collected.record, collected.answer)
        return json_response(answer, headers=location_of(created.generation))

    @Operation(
        id="listModels",
        method="GET",
        paths=["/v1/models"],
        tag="v1",
        summary="OpenAI: list the models",
        security=USER,
        parameters=[OPEN_USER],
        responses=[json(200, dict[str, Any], "A list of models")],
    )
    async def models(self, request: web.Request) -> web.Response:
        """List the models that the settings of the upstreams name.

        A client that sends the header `anthropic-version` gets the list in Anthropic's form.
        """
        await self._compat.identify(request)
        models = self._compat.requests.models()
        if is_anthropic_client(request):
            return json_response(model_list(models))
        data = [_model(name, upstream) for name, upstream in models.items()]
        return json_response({"object": "list", "data": data})

    @Operation(
        id="getModel",
        method="GET",
        paths=["/v1/models/{name:.+}"],
        tag="v1",
        summary="OpenAI: describe a model",
        security=USER,
        parameters=[OPEN_USER, Parameter("path", "name", str, "The model")],
        responses=[json(200, dict[str, Any], "A model")],
        refuses=[404],
    )
    async def model(self, request: web.Request) -> web.Response:
        """Describe one model."""
        await self._compat.identify(request)
        name = request.match_info["name"]
        listed = self._compat.requests.models().items()
        models = {(upstream, each.removeprefix(f"{upstream}/")) for each, upstream in listed}
        upstream, model = self._compat.requests.find(name)
        if upstream is None or (upstream, model) not in models:
            raise NotFound(f"there is no model {name!r}", code=MODEL_NOT_FOUND, path="model")
        if is_anthropic_client(request):
            return json_response(model_info(name))
        return json_response(_model(name, upstream))


def _model(name: str, upstream: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": upstream}
