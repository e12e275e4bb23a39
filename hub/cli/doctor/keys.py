"""Are there keys, and could somebody guess them? No part of a key is ever shown."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from hub.api.tokens import public_key
from hub.cli.doctor.result import CheckResult, fail, ok, warn
from hub.errors import OperatorError
from hub.settings import Settings, check_for_production
from hub.settings.models import ApiKey, Auth

_MAKE_ONE: Final = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
_LEAST_CHARACTERS: Final = 16
_LEAST_DIFFERENT: Final = 8
_LEAST_RSA_BITS: Final = 2048
# Words of documents, tutorials and lists of the most used passwords.
_WELL_KNOWN: Final = (
    "admin", "changeme", "change-me", "change_me", "changethis", "change-this", "default", "demo",
    "example", "foobar", "hub", "insecure", "jwt", "key", "letmein", "password", "passw0rd",
    "please", "qwerty", "secret", "s3cret", "supersecret", "test", "token", "your-256-bit-secret",
    "your", "bit", "api", "dev", "my", "super", "123456",
)  # fmt: skip
_NOT_OWN: Final = re.compile("|".join(sorted(_WELL_KNOWN, key=len, reverse=True)) + r"|[\W_]")


def check_keys(settings: Settings) -> Iterator[CheckResult]:
    """One finding on whether there are keys, and one for each that is too weak."""
    auth = settings.auth
    try:
        check_for_production(settings)
    except OperatorError as error:
        yield fail("keys", str(error), _MAKE_ONE)
    else:
        if auth.disabled:
            yield warn(
                "keys",
                "auth.disabled is on: nobody is asked for a token",
                "leave it off wherever others can reach the hub",
            )
        else:
            yield ok("keys", "keys for users and for backends are set")
    if auth.hmac_secret is not None:
        yield from _weak("auth.hmac_secret", auth.hmac_secret.get_secret_value())
    for n, key in enumerate(auth.api_keys):
        yield from _api_key(f"auth.api_keys[{n}]", key)
    for n, pem in enumerate(auth.public_keys):
        yield from _public_key(f"auth.public_keys[{n}]", pem)
    yield from _shared(auth)


def key_weakness(secret: str) -> str:
    """Why somebody could guess it; empty for a secret of which nothing like that can be said."""
    period = (secret + secret).find(secret, 1)
    own = _NOT_OWN.sub("", secret.lower())
    if len(own) < min(_LEAST_DIFFERENT, len(secret) / 2):
        return "is made of well-known words"
    if len(secret) < _LEAST_CHARACTERS:
        return f"has {len(secret)} characters"
    if 2 * period <= len(secret):
        return f"repeats {period} characters"
    if len(set(secret)) < _LEAST_DIFFERENT:
        return f"has {len(set(secret))} different characters"
    steps = [ord(after) - ord(before) for before, after in pairwise(secret)]
    if sum(abs(step) <= 1 for step in steps) * 2 > len(steps):
        return "is a row of neighbouring characters"
    return ""


def _weak(check: str, secret: str) -> Iterator[CheckResult]:
    if why := key_weakness(secret):
        yield fail(check, f"it {why}", _MAKE_ONE)


def _api_key(check: str, key: ApiKey) -> Iterator[CheckResult]:
    named = f"{check} ({key.name})" if key.name else check
    if key.key is not None:
        yield from _weak(named, key.key.get_secret_value())
    elif key.sha256 in {hashlib.sha256(word.encode()).hexdigest() for word in _WELL_KNOWN}:
        yield fail(named, "it is the hash of a well-known word", _MAKE_ONE)


def _public_key(check: str, pem: str) -> Iterator[CheckResult]:
    try:
        key = public_key(pem).key
    except OperatorError as error:
        yield fail(check, str(error), "take the PEM that begins with -----BEGIN PUBLIC KEY-----")
        return
    if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
        yield fail(
            check,
            f"it is an RSA key of {key.key_size} bits",
            f"sign with one of {_LEAST_RSA_BITS} or more, or with P-256 or Ed25519",
        )


def _shared(auth: Auth) -> Iterator[CheckResult]:
    """One secret in two places opens both when it is lost in one."""
    secrets = [key.key.get_secret_value() for key in auth.api_keys if key.key is not None]
    if auth.hmac_secret is not None:
        secrets.append(auth.hmac_secret.get_secret_value())
    if len(set(secrets)) < len(secrets):
        yield warn("keys", "the same secret is set twice", "give each its own: " + _MAKE_ONE)
