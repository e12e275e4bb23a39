"""The upstreams that functions ask: which one answers, and with which request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast

import msgspec

from hub import error_codes
from hub.core.generation import GenerationRequest, Message
from hub.core.generation_context import GenerationContext
from hub.core.parts import Part
from hub.core.upstream_models import UpstreamModels
from hub.engine.worker.text_guard import TextGuard
from hub.errors import BadRequest
from hub.ports.upstreams import Upstream


class AskableUpstreams:
    """Sends the requests of functions to upstreams.

    upstreams: those that may be asked, by name and in the order of the settings. models: those of
    all upstreams, also of functions, which cannot be asked. guards: what checks their answers
    before a function gets them.
    """

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        models: Mapping[str, UpstreamModels],
        guards: Mapping[str, TextGuard] | None = None,
    ) -> None:
        self._upstreams = upstreams
        self._models = models
        self._guards = guards or {}

    def build_request(
        self,
        run: GenerationRequest,
        *,
        upstream: str | None,
        model: str | None,
        messages: Sequence[Message],
        params: dict[str, Any],
    ) -> GenerationRequest:
        """Return the request to an upstream.

        run: the request that the function answers. upstream: None means the first one that may be
        asked. model: None means the default of the upstream.
        Raise BadRequest for an upstream that may not be asked, and for a model that it has not.
        """
        name = upstream if upstream is not None else next(iter(self._upstreams), None)
        if name is None:
            raise BadRequest("there is no upstream that a function can ask: set HUB_UPSTREAMS__…")
        if name not in self._upstreams:
            raise self._refusal(name)
        if not messages:
            raise BadRequest("messages is empty")
        return msgspec.structs.replace(
            run,
            messages=[*messages],
            upstream=name,
            model=self._models[name].choose(name, model),
            params=params,
        )

    def stream(
        self, request: GenerationRequest, context: GenerationContext
    ) -> AsyncGenerator[Sequence[Part], None]:
        """Send a request of `build_request`. See ports.upstreams.Upstream.stream.

        Also raise UpstreamError when the guard of the upstream ends the answer or fails.
        """
        source = self._upstreams[request.upstream].stream(request, context)
        guard = self._guards.get(request.upstream)
        if guard is None:
            return source
        # A guard yields only what its source does, and parts of texts.
        return cast("AsyncGenerator[Sequence[Part], None]", guard.stream(source, context))

    def _refusal(self, name: str) -> BadRequest:
        others = ", ".join(self._upstreams) or "none"
        if name not in self._models:
            message = f"there is no upstream {name!r}; a function can ask: {others}"
            return BadRequest(message, code=error_codes.UNKNOWN_UPSTREAM)
        kind = self._models[name].kind
        return BadRequest(
            f"the upstream {name!r} is of the kind {kind}, which a function cannot ask; it can "
            f"ask: {others}"
        )
