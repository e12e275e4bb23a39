"""Authentication, as the settings describe it."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.authentication import Authenticator, DevAuthenticator, JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys, KeySource, TokenReader, public_key, secret_key
from hub.compat.errors import COMPAT_PREFIX
from hub.errors import OperatorError
from hub.http.callback import CallbackAuthenticator
from hub.http.jwks import JwksKeys
from hub.ports.clock import Clock
from hub.settings import Settings


def build_authenticator(
    settings: Settings, origins: AllowedOrigins, session: aiohttp.ClientSession, clock: Clock
) -> Authenticator:
    """Build the authenticator of users. Raise OperatorError for an invalid key."""
    auth = settings.auth
    if auth.disabled:
        return DevAuthenticator(default_user_prefixes=[COMPAT_PREFIX])
    if auth.callback_url is not None:
        return CallbackAuthenticator(
            session,
            auth.callback_url,
            origins,
            timeout_seconds=auth.callback_timeout_seconds,
        )
    fixed = [public_key(pem) for pem in auth.public_keys]
    if auth.hmac_secret is not None:
        fixed.insert(0, secret_key(auth.hmac_secret.get_secret_value()))
    sources: list[KeySource] = [FixedKeys(fixed)] if fixed else []
    if auth.jwks_url is not None:
        sources.append(JwksKeys(session, auth.jwks_url, clock))
    if not sources:
        raise OperatorError(
            "set auth.hmac_secret (HUB_AUTH__HMAC_SECRET), auth.public_keys or auth.jwks_url"
        )
    return JwtAuthenticator(
        TokenReader(
            sources,
            audience=auth.audience,
            issuer=auth.issuer,
            leeway_seconds=auth.leeway_seconds,
        ),
        origins,
    )


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
