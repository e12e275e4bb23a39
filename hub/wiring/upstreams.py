"""The upstreams of a worker, as the settings have them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import aiohttp

from hub.engine.failover import CircuitBreaker, Endpoint, Failover
from hub.ports.clock import Clock
from hub.ports.upstreams import Upstream
from hub.settings import Settings
from hub.settings import Upstream as UpstreamSettings
from hub.upstreams.anthropic import AnthropicMessages
from hub.upstreams.dashscope import DashScope
from hub.upstreams.envelope import Envelope, EnvelopeRules
from hub.upstreams.http_client import UpstreamTimeouts
from hub.upstreams.http_upstream import Dialect, HttpUpstream
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai_chat import OpenAiChat
from hub.upstreams.openai_responses import OpenAiResponses

_DIALECTS: Final[Mapping[str, Callable[[Mapping[str, Any]], Dialect]]] = {
    "openai": OpenAiChat,
    "openai-responses": OpenAiResponses,
    "anthropic": AnthropicMessages,
    "ollama": OllamaChat,
    "dashscope": DashScope,
}


def build_upstreams(
    settings: Settings, session: aiohttp.ClientSession, clock: Clock, queues: Collection[str]
) -> Mapping[str, Upstream]:
    """By name, each with its fallbacks behind it: those whose questions come through `queues`."""
    endpoints = {
        name: Endpoint(
            name=name,
            upstream=_http_upstream(each, session),
            circuit=CircuitBreaker(
                clock,
                failure_threshold=each.circuit_failure_threshold,
                open_seconds=each.circuit_open_seconds,
            ),
            models=each.models,
            default_model=each.default_model,
            retries=each.retries,
            max_retry_after_seconds=each.max_retry_after_seconds,
        )
        for name, each in settings.upstreams.items()
    }
    return {
        name: Failover([endpoints[one] for one in (name, *each.fallbacks)], clock)
        for name, each in settings.upstreams.items()
        if each.queue in queues
    }


def _http_upstream(settings: UpstreamSettings, session: aiohttp.ClientSession) -> HttpUpstream:
    return HttpUpstream(
        session,
        _dialect(settings),
        base_url=settings.base_url,
        headers={**_key_header(settings), **settings.headers},
        timeouts=UpstreamTimeouts(
            connect_seconds=settings.connect_seconds,
            first_byte_seconds=settings.first_byte_seconds,
            idle_seconds=settings.idle_seconds,
            total_seconds=settings.total_seconds,
        ),
        max_event_bytes=settings.max_event_bytes,
        proxy=settings.proxy,
        verify_tls=settings.verify_tls,
    )


def _dialect(settings: UpstreamSettings) -> Dialect:
    if settings.kind == "envelope":
        return Envelope(EnvelopeRules(**settings.envelope.model_dump()))
    return _DIALECTS[settings.kind](settings.body)


def _key_header(settings: UpstreamSettings) -> Mapping[str, str]:
    if settings.api_key is None:
        return {}
    key = settings.api_key.get_secret_value()
    return (
        {"x-api-key": key} if settings.kind == "anthropic" else {"Authorization": f"Bearer {key}"}
    )
