"""Checks of `context_key`: with it an endpoint verifies for whom it answers, and can sign as well.

So it must not be a key that opens anything else.
"""

from __future__ import annotations

import hashlib
from typing import Final

from hub.errors import OperatorError
from hub.settings.models import Auth, Settings

_HEADER: Final = "hub-context"
_KEY_FORMATS: Final = ("-----BEGIN", "ssh-", "ecdsa-sha2-")  # of public keys and key pairs


def check_context_keys(settings: Settings) -> None:
    """Raise OperatorError for a key with another use, and for other settings of its header."""
    owners = _owners(settings)
    for name, upstream in settings.upstreams.items():
        if upstream.context_key is None:
            continue
        setting, key = f"upstreams.{name}.context_key", upstream.context_key.get_secret_value()
        if any(each in key for each in _KEY_FORMATS):
            raise OperatorError(f"{setting} must be a secret text, not a public or private key")
        if owner := owners.get(_digest(key)):
            raise OperatorError(
                f"{setting} is the same as {owner}; generate another one, for example with "
                "openssl rand -hex 32"
            )
        headers = [(f"headers.{header}", header) for header in upstream.headers]
        headers.append(("api_key_header", upstream.api_key_header or ""))
        for other, header in headers:
            if header.strip().lower() == _HEADER:
                raise OperatorError(
                    f"upstreams.{name}.{other} sets the header Hub-Context, which {setting} sets; "
                    "remove one of them"
                )


def _owners(settings: Settings) -> dict[str, str]:
    """Return the settings that no context_key may equal, by the SHA-256 of their values."""
    owners = {
        _digest(upstream.api_key.get_secret_value()): f"upstreams.{name}.api_key"
        for name, upstream in settings.upstreams.items()
        if upstream.api_key is not None
    }
    owners |= {
        _digest(upstream.guard.api_key.get_secret_value()): f"upstreams.{name}.guard.api_key"
        for name, upstream in settings.upstreams.items()
        if upstream.guard.api_key is not None
    }
    for n, api_key in enumerate(settings.auth.api_keys):
        digest = _digest(api_key.key.get_secret_value()) if api_key.key else api_key.sha256 or ""
        owners[digest] = f"the key auth.api_keys[{n}]"
    return {**owners, **_verifying_secrets(settings.auth)}


def _verifying_secrets(auth: Auth) -> dict[str, str]:
    """Return the secrets that verify users' tokens, by their SHA-256."""
    issuers = [("auth", auth.default_issuer)]
    issuers += [(f"auth.issuers[{n}]", each) for n, each in enumerate(auth.issuers)]
    return {
        _digest(issuer.hmac_secret.get_secret_value()): (
            f"{setting}.hmac_secret, which verifies users' tokens"
        )
        for setting, issuer in issuers
        if issuer.hmac_secret is not None
    }


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
