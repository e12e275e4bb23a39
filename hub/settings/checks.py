"""What single settings cannot say: what must be there, and what does not fit together."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from hub.errors import OperatorError
from hub.settings.models import Settings

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def check_for_production(settings: Settings) -> None:
    """Raises OperatorError that names each setting without which `serve` must not run."""
    if settings.auth.disabled:
        return
    missing = []
    if settings.auth.hmac_secret is None and not (
        settings.auth.public_keys or settings.auth.jwks_url or settings.auth.callback_url
    ):
        missing.append("auth.hmac_secret (HUB_AUTH__HMAC_SECRET)")
    if not settings.auth.api_keys:
        missing.append("auth.api_keys (HUB_AUTH__API_KEYS)")
    if missing:
        raise OperatorError(f"set {' and '.join(missing)}; `hub dev` runs without")


def check_consistency(settings: Settings) -> None:
    """Raises OperatorError for settings that do not fit each other."""
    log = settings.log
    for kind, keep in (("user", log.user), ("topic", log.topic), ("everyone", log.all)):
        if log.position_ttl_seconds < keep.ttl_seconds * 9 / 8:
            raise OperatorError(f"log.position_ttl_seconds must outlast log.{kind}.ttl_seconds")
    if settings.generations.max_queued_seconds >= settings.generations.ttl_seconds:
        raise OperatorError("generations.ttl_seconds must outlast generations.max_queued_seconds")
    for key in settings.auth.api_keys:
        if (key.key is None) is (key.sha256 is None):
            raise OperatorError("each of auth.api_keys has either a key or its sha256")
    _check_templates(settings)
    _check_upstreams(settings)
    _check_listeners(settings)


def _check_templates(settings: Settings) -> None:
    for name in settings.shapes:
        if not _NAME.fullmatch(name):
            raise OperatorError(f"shapes.{name}: a name has letters, digits, . _ and -")
        if name == "events":
            raise OperatorError("shapes.events: that is the name of the hub's own events")


def _check_upstreams(settings: Settings) -> None:
    default = settings.default_upstream
    if default is not None and default not in settings.upstreams:
        raise OperatorError(f"default_upstream names {default!r}, which is not among the upstreams")
    for name, upstream in settings.upstreams.items():
        if not _NAME.fullmatch(name):
            raise OperatorError(f"upstreams.{name}: a name has letters, digits, . _ and -")
        for other in upstream.fallbacks:
            if other not in settings.upstreams or other == name:
                raise OperatorError(
                    f"upstreams.{name}.fallbacks names {other!r}, which is not another upstream"
                )


def _check_listeners(settings: Settings) -> None:
    internal = settings.internal
    for section, listener in (("public", settings.public), ("internal", internal)):
        if (listener.tls_cert is None) is not (listener.tls_key is None):
            raise OperatorError(f"{section}.tls_cert and {section}.tls_key go together")
    on_a_port = internal.socket is None or internal.grpc_port is not None
    plain = on_a_port and internal.tls_cert is None
    if plain and not internal.allow_public and not _is_private(internal.host):
        raise OperatorError(
            f"internal.host is {internal.host}, which others can reach: set "
            "internal.allow_public = true if that is meant"
        )
    hosts = (settings.public.host, internal.host)
    if settings.auth.disabled and not all(map(_is_loopback, hosts)):
        raise OperatorError(
            "auth.disabled is for loopback only, and a listener is on another address"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_private(host: str) -> bool:
    """Whether only machines of the same network can reach it, as far as its text tells."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host != "" and not host.endswith(".") and "." not in host  # a name in a network
    return address.is_loopback or (address.is_private and not address.is_unspecified)
