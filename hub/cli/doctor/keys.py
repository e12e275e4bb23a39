"""Checks of the keys: are there any, and are they hard to guess? No output shows part of a key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from hub.api.verifying_keys import public_key
from hub.cli.doctor.probe import CheckResult, fail, ok, warn
from hub.errors import OperatorError
from hub.settings import MIN_API_KEY_CHARS, Settings, check_for_production
from hub.settings.models import ApiKey, Auth

_GENERATE: Final = "generate one: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
_MIN_DIFFERENT_CHARACTERS: Final = 8
_MIN_RSA_BITS: Final = 2048
# Words from documentation, tutorials and lists of common passwords.
_WELL_KNOWN: Final = (
    "admin", "changeme", "change-me", "change_me", "changethis", "change-this", "default", "demo",
    "example", "foobar", "hub", "insecure", "jwt", "key", "letmein", "password", "passw0rd",
    "please", "qwerty", "secret", "s3cret", "supersecret", "test", "token", "your-256-bit-secret",
    "your", "bit", "api", "dev", "my", "super", "123456",
)  # fmt: skip
_GUESSABLE: Final = re.compile("|".join(sorted(_WELL_KNOWN, key=len, reverse=True)) + r"|[\W_]")


def check_keys(settings: Settings) -> Iterator[CheckResult]:
    """Check that there are keys, and return one more result for each weak key."""
    auth = settings.auth
    try:
        check_for_production(settings)
    except OperatorError as error:
        yield fail("keys", str(error), _GENERATE)
    else:
        if auth.disabled:
            yield warn(
                "keys",
                "auth.disabled is on: the hub accepts requests without a token",
                "turn it off wherever other people can reach the hub",
            )
        else:
            yield ok("keys", "the keys for users and for backends are set")
    if auth.hmac_secret is not None:
        yield from _check_secret("auth.hmac_secret", auth.hmac_secret.get_secret_value())
    for n, key in enumerate(auth.api_keys):
        yield from _check_api_key(f"auth.api_keys[{n}]", key)
    for n, pem in enumerate(auth.public_keys):
        yield from _check_public_key(f"auth.public_keys[{n}]", pem)
    yield from _check_shared_secret(auth)


def key_weakness(secret: str) -> str:
    """Return why a secret is easy to guess, or an empty string."""
    period = (secret + secret).find(secret, 1)  # the secret repeats after this many characters
    remainder = _GUESSABLE.sub("", secret.lower())
    if len(remainder) < min(_MIN_DIFFERENT_CHARACTERS, len(secret) / 2):
        return "consists of well-known words"
    if len(secret) < MIN_API_KEY_CHARS:
        return f"has only {len(secret)} characters"
    if 2 * period <= len(secret):
        return f"repeats the same {period} characters"
    if len(set(secret)) < _MIN_DIFFERENT_CHARACTERS:
        return f"has only {len(set(secret))} different characters"
    steps = [ord(after) - ord(before) for before, after in pairwise(secret)]
    if sum(abs(step) <= 1 for step in steps) * 2 > len(steps):
        return "is a sequence of neighbouring characters"
    return ""


def _check_secret(check: str, secret: str) -> Iterator[CheckResult]:
    if weakness := key_weakness(secret):
        yield fail(check, f"the secret {weakness}", _GENERATE)


def _check_api_key(check: str, key: ApiKey) -> Iterator[CheckResult]:
    check = f"{check} ({key.name})" if key.name else check
    if key.key is not None:
        yield from _check_secret(check, key.key.get_secret_value())
    elif key.sha256 in {hashlib.sha256(word.encode()).hexdigest() for word in _WELL_KNOWN}:
        yield fail(check, "the value is the hash of a well-known word", _GENERATE)


def _check_public_key(check: str, pem: str) -> Iterator[CheckResult]:
    try:
        key = public_key(pem).key
    except OperatorError as error:
        yield fail(
            check, str(error), "set the PEM text that begins with -----BEGIN PUBLIC KEY-----"
        )
        return
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        yield fail(
            check,
            f"the RSA key has only {key.key_size} bits",
            f"use an RSA key of {_MIN_RSA_BITS} bits or more, P-256 or Ed25519",
        )


def _check_shared_secret(auth: Auth) -> Iterator[CheckResult]:
    """Check for a secret that is used twice: whoever learns one use of it has the other, too."""
    secrets = [key.key.get_secret_value() for key in auth.api_keys if key.key is not None]
    if auth.hmac_secret is not None:
        secrets.append(auth.hmac_secret.get_secret_value())
    if len(set(secrets)) < len(secrets):
        yield warn(
            "keys", "the same secret is set twice", "set a different one for each; " + _GENERATE
        )
