"""Builds the upstreams of a worker from the settings. Another wire format is a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import aiohttp

from hub.core.upstream_models import UpstreamModels
from hub.engine.worker.failover import CircuitBreaker, Endpoint, Failover
from hub.engine.worker.interruptible import InterruptibleUpstream
from hub.ports.clock import Clock
from hub.ports.upstreams import Upstream
from hub.settings import Settings
from hub.settings import Upstream as UpstreamSettings
from hub.settings.models import INTERRUPTIBLE_KINDS
from hub.upstreams.a2a.card import AgentInterface
from hub.upstreams.a2a.request import AgentCall
from hub.upstreams.a2a.task import TaskProgress
from hub.upstreams.a2a.upstream import A2aUpstream
from hub.upstreams.ag_ui.dialect import AgUi
from hub.upstreams.ai_sdk.dialect import AiSdk
from hub.upstreams.anthropic.dialect import AnthropicMessages
from hub.upstreams.dashscope import DashScope
from hub.upstreams.dialect import BEARER, AuthHeader, Dialect
from hub.upstreams.envelope import Envelope
from hub.upstreams.envelope_reader import EnvelopeRules
from hub.upstreams.http.client import UpstreamTimeouts
from hub.upstreams.http.context_token import ContextSigner
from hub.upstreams.http.endpoint import EndpointOptions
from hub.upstreams.http.prefix import (
    AnthropicPrefix,
    FinalMessage,
    MarkedPrefix,
    PrefixForm,
    PrefixUpstream,
)
from hub.upstreams.http.reattaching import ReattachingUpstream
from hub.upstreams.http.request_rules import RequestRules
from hub.upstreams.http.upstream import HttpUpstream
from hub.upstreams.ollama import OllamaChat
from hub.upstreams.openai.background import BackgroundResponses
from hub.upstreams.openai.chat import OpenAiChat
from hub.upstreams.openai.responses import OpenAiResponses
from hub.wiring.outgoing_requests import check_credentials, find_environment_proxy

DIALECTS: Final[Mapping[str, Callable[[Mapping[str, Any]], Dialect]]] = {
    dialect.kind: dialect
    for dialect in (
        *(OpenAiChat, OpenAiResponses, AnthropicMessages, OllamaChat, DashScope),
        *(AgUi, AiSdk),
    )
}
"""The dialects that `body` configures, by kind. `Envelope` has a table of settings of its own."""


def build_upstreams(
    settings: Settings,
    session: aiohttp.ClientSession,
    clock: Clock,
    on_odd_fields: Callable[[str, int], None] = lambda name, count: None,
) -> Mapping[str, Upstream]:
    """Build the LLM endpoints of the settings, by name, with their fallbacks.

    on_odd_fields: called with the name of an upstream and the number of odd fields in an answer.
    """
    endpoints = {
        name: Endpoint(
            name=name,
            upstream=_build_endpoint(name, each, session, partial(on_odd_fields, name)),
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
        if each.is_endpoint
    }
    return {
        name: Failover([endpoints[one] for one in (name, *each.fallbacks)], clock)
        for name, each in settings.upstreams.items()
        if name in endpoints
    }


def build_upstream_models(settings: Settings) -> dict[str, UpstreamModels]:
    """Return the models of all upstreams, by name.

    Agents, functions and queues have their name as default.
    """
    return {
        name: UpstreamModels(
            upstream.default_model or (None if upstream.has_models else name),
            upstream.models,
            _common_kind(settings, name),
        )
        for name, upstream in settings.upstreams.items()
    }


def _common_kind(settings: Settings, name: str) -> str:
    """Return the wire format of an upstream and its fallbacks, empty if they differ."""
    upstream = settings.upstreams[name]
    kinds = {settings.upstreams[each].kind for each in (name, *upstream.fallbacks)}
    return upstream.kind if len(kinds) == 1 else ""


def _build_endpoint(
    name: str,
    settings: UpstreamSettings,
    session: aiohttp.ClientSession,
    on_odd_fields: Callable[[int], None],
) -> Upstream:
    """Build an endpoint, and what continues its answers if its kind or the settings say so."""
    if settings.kind == A2aUpstream.kind:
        return A2aUpstream(
            name,
            session,
            _build_options(name, settings, BEARER),
            body=settings.body,
            max_event_bytes=settings.max_event_bytes,
            on_odd_fields=on_odd_fields,
            input_timeout_seconds=settings.input_timeout_seconds,
        )
    dialect = build_dialect(settings)
    http = HttpUpstream(
        session,
        dialect,
        _build_options(name, settings, dialect.auth_header),
        max_event_bytes=settings.max_event_bytes,
        on_odd_fields=on_odd_fields,
    )
    if settings.kind in INTERRUPTIBLE_KINDS:
        return InterruptibleUpstream(http, timeout_seconds=settings.input_timeout_seconds)
    if settings.background and isinstance(dialect, OpenAiResponses):
        return ReattachingUpstream(http, BackgroundResponses(dialect))
    if settings.continue_with is not None:
        form = _PREFIX_FORMS[dialect.kind, settings.continue_with]
        return PrefixUpstream(http, dialect.build_request, form, models=settings.continue_models)
    return http


_PREFIX_FORMS: Final[Mapping[tuple[str, str], PrefixForm]] = {
    ("anthropic", "prefix"): AnthropicPrefix(),
    ("openai", "prefix"): MarkedPrefix(),
    ("openai", "final_message"): FinalMessage(),
}


def _build_options(
    name: str, settings: UpstreamSettings, auth_header: AuthHeader
) -> EndpointOptions:
    headers = build_headers(settings, auth_header)
    check_credentials(f"upstreams.{name}.base_url", settings.base_url, headers)
    return EndpointOptions(
        base_url=settings.base_url,
        headers=headers,
        rules=RequestRules(
            omit=settings.omit,
            rename=settings.rename,
            roles=settings.roles,
            stream=settings.stream,
        ),
        timeouts=UpstreamTimeouts(
            connect_seconds=settings.connect_seconds,
            first_byte_seconds=settings.first_byte_seconds,
            idle_seconds=settings.idle_seconds,
            total_seconds=settings.total_seconds,
        ),
        proxy=settings.proxy or find_environment_proxy(settings.base_url),
        verify_tls=settings.verify_tls,
        signer=_build_signer(name, settings),
    )


def _build_signer(name: str, settings: UpstreamSettings) -> ContextSigner | None:
    key = settings.context_key
    return None if key is None else ContextSigner(key.get_secret_value(), name)


def build_headers(settings: UpstreamSettings, auth_header: AuthHeader) -> Mapping[str, str]:
    """Return the headers of every request: that of the API key, and those of the settings.

    auth_header: that of the wire format; `api_key_header` names another one. The key in
    `Authorization` is a bearer token.
    """
    header = auth_header
    if settings.api_key_header is not None:
        is_bearer = settings.api_key_header.lower() == BEARER.name.lower()
        header = BEARER if is_bearer else AuthHeader(settings.api_key_header)
    api_key = None if settings.api_key is None else settings.api_key.get_secret_value()
    return {**header.build(api_key), **settings.headers}


def build_dialect(settings: UpstreamSettings) -> Dialect:
    """Return the wire format of an upstream; for an agent, that of a message."""
    if settings.kind == A2aUpstream.kind:
        return AgentCall(AgentInterface(url=settings.base_url), "send", TaskProgress())
    if settings.kind == Envelope.kind:
        return Envelope(EnvelopeRules(**settings.envelope.model_dump()))
    return DIALECTS[settings.kind](settings.body)
