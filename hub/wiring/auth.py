"""Authentication, as the settings describe it."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.authentication import Authenticator, DevAuthenticator, JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys, KeySource, TokenIssuer, TokenReader
from hub.api.verifying_keys import public_key, secret_key
from hub.compat.errors import COMPAT_PREFIX
from hub.errors import OperatorError
from hub.http.callback import CallbackAuthenticator
from hub.http.jwks import JwksKeys
from hub.ports.clock import Clock
from hub.settings import Settings
from hub.settings.models import Issuer
from hub.wiring.outgoing_requests import check_credentials, find_environment_proxy


def build_authenticator(
    settings: Settings, origins: AllowedOrigins, session: aiohttp.ClientSession, clock: Clock
) -> Authenticator:
    """Build the authenticator of users. Raise OperatorError for an invalid key."""
    auth = settings.auth
    if auth.disabled:
        return DevAuthenticator(origins, default_user_prefixes=[COMPAT_PREFIX])
    if auth.callback_url is not None:
        check_credentials("auth.callback_url", auth.callback_url, ["Authorization"])
        return CallbackAuthenticator(
            session,
            auth.callback_url,
            origins,
            timeout_seconds=auth.callback_timeout_seconds,
            require_scope=auth.require_scope,
            proxy=find_environment_proxy(auth.callback_url),
        )
    issuers = [
        TokenIssuer(
            sources=_key_sources(each, session, clock),
            issuer=each.issuer,
            audience=each.audience,
            user_claim=each.user_claim,
        )
        for each in auth.all_issuers
    ]
    if not issuers:
        raise OperatorError(
            "set auth.hmac_secret (HUB_AUTH__HMAC_SECRET), auth.public_keys, auth.jwks_url or "
            "auth.issuers"
        )
    return JwtAuthenticator(
        TokenReader(issuers, leeway_seconds=auth.leeway_seconds, require_scope=auth.require_scope),
        origins,
    )


def _key_sources(issuer: Issuer, session: aiohttp.ClientSession, clock: Clock) -> list[KeySource]:
    fixed = [public_key(pem) for pem in issuer.public_keys]
    if issuer.hmac_secret is not None:
        fixed.insert(0, secret_key(issuer.hmac_secret.get_secret_value()))
    sources: list[KeySource] = [FixedKeys(fixed)] if fixed else []
    if issuer.jwks_url is not None:
        proxy = find_environment_proxy(issuer.jwks_url)
        sources.append(JwksKeys(session, issuer.jwks_url, clock, proxy=proxy))
    return sources


def build_api_keys(settings: Settings) -> ApiKeys:
    """Build the API keys of backends and operators."""
    keys: Sequence[ApiKey] = [
        ApiKey(
            each.name or f"key {n}",
            each.sha256 or hash_key(each.key.get_secret_value() if each.key else ""),
            frozenset(each.scopes),
        )
        for n, each in enumerate(settings.auth.api_keys, start=1)
    ]
    return ApiKeys(keys)
