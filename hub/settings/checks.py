"""Checks that concern several settings: required settings and contradictions."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Final

from hub.errors import OperatorError
from hub.settings import patterns
from hub.settings.context_keys import check_context_keys
from hub.settings.models import AGENT_KINDS, Auth, Push, Settings, Upstream

SIMULATED_UPSTREAM: Final = "simulated"  # the one that `hub dev` adds
_FUNCTION_SETTINGS: Final = frozenset(
    {
        *("kind", "target", "retries", "total_seconds", "max_running", "max_queued", "queue"),
        *("isolation", "version_policy", "guard"),
        *("default_model", "models", "base_url"),
    }
)
_ONLY_OF_FUNCTIONS: Final = ("isolation", "version_policy")
_QUEUE_SETTINGS: Final = frozenset(
    {"kind", "retries", "max_running", "max_queued", "queue", "default_model", "models", "base_url"}
)
_ALWAYS_STREAMED: Final = ("dashscope", "envelope", *AGENT_KINDS)  # kinds without whole answers
_CONTINUING_KINDS: Final = {"prefix": ("openai", "anthropic"), "final_message": ("openai",)}
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def check_for_production(settings: Settings) -> None:
    """Raise OperatorError that names each missing setting without which `serve` must not run."""
    if settings.default_upstream not in (None, *settings.upstreams):
        raise OperatorError(
            f"default_upstream names {settings.default_upstream!r}, which only `hub dev` has"
        )
    if settings.auth.disabled:
        return
    missing = []
    if not settings.auth.all_issuers and settings.auth.callback_url is None:
        missing.append("auth.hmac_secret (HUB_AUTH__HMAC_SECRET)")
    if not settings.auth.api_keys:
        missing.append("auth.api_keys (HUB_AUTH__API_KEYS)")
    if missing:
        raise OperatorError(f"set {' and '.join(missing)}; only `hub dev` runs without them")


def check_consistency(settings: Settings) -> None:
    """Raise OperatorError for settings that contradict each other."""
    log = settings.log
    for kind, retention in (("user", log.user), ("topic", log.topic), ("all", log.all)):
        # The log trims an event at 9/8 of its age at the latest.
        if log.position_ttl_seconds < retention.ttl_seconds * 9 / 8:
            raise OperatorError(
                f"log.position_ttl_seconds must be at least 9/8 of log.{kind}.ttl_seconds"
            )
    if settings.generations.max_queued_seconds >= settings.generations.ttl_seconds:
        raise OperatorError(
            "generations.ttl_seconds must be longer than generations.max_queued_seconds"
        )
    for key in settings.auth.api_keys:
        if (key.key is None) is (key.sha256 is None):
            raise OperatorError("each entry of auth.api_keys needs exactly one of key and sha256")
    if None not in (settings.redis.password_file, settings.redis.password_command):
        raise OperatorError("set either redis.password_file or redis.password_command, not both")
    _check_push(settings.push)
    _check_issuers(settings.auth)
    _check_templates(settings)
    _check_upstreams(settings)
    check_context_keys(settings)
    _check_listeners(settings)


def _check_push(push: Push) -> None:
    if None not in (push.private_key, push.private_key_file):
        raise OperatorError("set either push.private_key or push.private_key_file, not both")
    if push.is_set and push.subject is None:
        raise OperatorError(
            "set push.subject: how push services reach you, for example mailto:ops@example.com"
        )
    if push.public_key is not None and not push.is_set:
        raise OperatorError("push.public_key needs push.private_key or push.private_key_file")


def _check_issuers(auth: Auth) -> None:
    names = [auth.issuer] if auth.default_issuer.has_keys else []
    for n, each in enumerate(auth.issuers):
        setting = f"auth.issuers[{n}]"
        if each.issuer is None:
            raise OperatorError(f"{setting} needs issuer: the claim iss of its tokens")
        if not each.has_keys:
            raise OperatorError(f"{setting} needs hmac_secret, public_keys or jwks_url")
        if each.issuer in names:
            raise OperatorError(f"{setting}.issuer is set twice")
        names.append(each.issuer)
    if auth.issuers and auth.callback_url is not None:
        raise OperatorError("set either auth.callback_url or auth.issuers, not both")


def _check_templates(settings: Settings) -> None:
    for name in settings.shapes:
        if not _NAME.fullmatch(name):
            raise OperatorError(
                f"shapes.{name}: a name has 1 to 64 letters, digits and the characters . _ -"
            )
        if name == "events":
            raise OperatorError(
                "shapes.events: this name stands for the hub's own events; choose another name"
            )


def _check_upstreams(settings: Settings) -> None:
    default = settings.default_upstream
    if default not in (None, SIMULATED_UPSTREAM, *settings.upstreams):
        raise OperatorError(f"default_upstream names {default!r}, but there is no such upstream")
    for name, upstream in settings.upstreams.items():
        if not _NAME.fullmatch(name):
            raise OperatorError(
                f"upstreams.{name}: a name has 1 to 64 letters, digits and the characters . _ -"
            )
        if not upstream.stream and upstream.kind in _ALWAYS_STREAMED:
            raise OperatorError(
                f"upstreams.{name}.stream = false does not fit the kind {upstream.kind}"
            )
        for fallback in upstream.fallbacks:
            if fallback not in settings.upstreams or fallback == name:
                raise OperatorError(
                    f"upstreams.{name}.fallbacks names {fallback!r}, which must be another upstream"
                )
            if not settings.upstreams[fallback].is_endpoint:
                raise OperatorError(
                    f"upstreams.{name}.fallbacks names {fallback!r}, which is a "
                    f"{settings.upstreams[fallback].kind}; a fallback must be an LLM endpoint"
                )
        _check_continuation(name, upstream)
        if upstream.is_function:
            _check_settings(name, upstream, _FUNCTION_SETTINGS)
        if upstream.is_queue:
            _check_settings(name, upstream, _QUEUE_SETTINGS)
            _check_queue(name, upstream, settings)
        _check_guard(name, upstream)
        if "input_timeout_seconds" in upstream.model_fields_set and (
            upstream.kind not in AGENT_KINDS
        ):
            kinds = " or ".join(json.dumps(kind) for kind in AGENT_KINDS)
            raise OperatorError(
                f"upstreams.{name}.input_timeout_seconds is for kind = {kinds} only"
            )
        for setting in _ONLY_OF_FUNCTIONS:
            if setting in upstream.model_fields_set and not upstream.is_function:
                raise OperatorError(f'upstreams.{name}.{setting} is for kind = "function" only')


def _check_continuation(name: str, upstream: Upstream) -> None:
    """Check that the kind of an upstream can continue an answer in the way that is set."""
    if upstream.background and (upstream.kind != "openai-responses" or not upstream.stream):
        raise OperatorError(
            f'upstreams.{name}.background is for kind = "openai-responses" with stream = true only'
        )
    kinds = _CONTINUING_KINDS.get(upstream.continue_with or "", ())
    if upstream.continue_with is not None and upstream.kind not in kinds:
        raise OperatorError(
            f'upstreams.{name}.continue_with = "{upstream.continue_with}" is for kind = '
            f"{' or '.join(json.dumps(kind) for kind in kinds)} only"
        )
    if upstream.continue_models and upstream.continue_with is None:
        raise OperatorError(f"upstreams.{name}.continue_models needs continue_with")


def _check_settings(name: str, upstream: Upstream, known: frozenset[str]) -> None:
    for setting in sorted(upstream.model_fields_set - known):
        raise OperatorError(
            f'upstreams.{name}.{setting} does not fit kind = "{upstream.kind}"; the settings of a '
            f"{upstream.kind} are {', '.join(sorted(known - {'base_url'}))}"
        )


def _check_guard(name: str, upstream: Upstream) -> None:
    guard, setting = upstream.guard, f"upstreams.{name}.guard"
    if not guard.model_fields_set:
        return
    if (guard.target is None) is (guard.url is None):
        raise OperatorError(f"{setting} needs exactly one of target and url")
    for only in ("api_key", "headers"):
        if only in guard.model_fields_set and guard.url is None:
            raise OperatorError(f"{setting}.{only} is for a guard with url only")
    if guard.max_wait_seconds < guard.timeout_seconds:
        raise OperatorError(f"{setting}.max_wait_seconds must not be less than timeout_seconds")


def _check_queue(name: str, upstream: Upstream, settings: Settings) -> None:
    """Check that no worker takes the jobs that external producers claim."""
    queue = upstream.find_queue(name)
    if not re.fullmatch(patterns.QUEUE, queue):
        raise OperatorError(
            f"set upstreams.{name}.queue, because {name!r} cannot be the name of a queue: "
            + patterns.REQUIREMENTS[patterns.QUEUE]
        )
    others = [
        other
        for other, each in settings.upstreams.items()
        if not each.is_queue and each.queue == queue
    ]
    if others or queue in settings.worker.queues:
        user = f"the upstream {others[0]!r} uses" if others else "worker.queues names"
        raise OperatorError(
            f"{user} the queue {queue!r}, from which external producers claim the jobs of "
            f"{name!r}; give upstreams.{name}.queue another name"
        )


def _check_listeners(settings: Settings) -> None:
    internal = settings.internal
    for section, listener in (("public", settings.public), ("internal", internal)):
        if (listener.tls_cert is None) is not (listener.tls_key is None):
            raise OperatorError(f"set both {section}.tls_cert and {section}.tls_key, or neither")
    uses_port = internal.socket is None or internal.grpc_port is not None
    is_plain = uses_port and internal.tls_cert is None
    if is_plain and not internal.allow_public and not _is_private(internal.host):
        raise OperatorError(
            f"internal.host is {internal.host}, a public address: use a private one, or set "
            "internal.allow_public = true to confirm it"
        )
    hosts = (settings.public.host, internal.host)
    if settings.auth.disabled and not all(map(_is_loopback, hosts)):
        raise OperatorError(
            "auth.disabled is for loopback only, but a listener uses another address"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_private(host: str) -> bool:
    """Return whether the host looks like one that only its own network can reach."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host != "" and not host.endswith(".") and "." not in host  # a name without a domain
    return address.is_loopback or (address.is_private and not address.is_unspecified)
