"""The keys that verify tokens: shared secrets, public keys in PEM, and JWK sets (RFC 7517)."""

from __future__ import annotations

from typing import Any, Final

import jwt
import msgspec
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from hub.errors import OperatorError

_HMAC: Final = ("HS256", "HS384", "HS512")
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_log = structlog.get_logger(__name__)


class VerifyingKey(msgspec.Struct, frozen=True):
    """A key and its algorithms. kid: the key id, None if it has none."""

    key: Any
    algorithms: tuple[str, ...]
    kid: str | None = None


def secret_key(secret: str) -> VerifyingKey:
    """Return the key of a shared secret. Libraries choose the hash by the secret's length."""
    return VerifyingKey(secret, _HMAC)


def public_key(pem: str) -> VerifyingKey:
    """Read a public key in PEM. Raise OperatorError if it cannot be used."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise OperatorError(
            "auth.public_keys has an entry that is not a public key in PEM"
        ) from error
    algorithms = _algorithms_of(key)
    if not algorithms:
        raise OperatorError("auth.public_keys accepts RSA, P-256, P-384, P-521 and Ed25519 keys")
    return VerifyingKey(key, algorithms)


def parse_jwks(document: Any) -> list[VerifyingKey]:
    """Return the usable keys of a JWK set and skip the others."""
    keys = []
    entries = document.get("keys") if isinstance(document, dict) else None
    for n, entry in enumerate(entries if isinstance(entries, list) else ()):
        try:
            if entry.get("use", "sig") != "sig":
                continue
            key = jwt.PyJWK(entry)
        except (
            jwt.PyJWTError, UnsupportedAlgorithm, AttributeError, LookupError, TypeError, ValueError
        ) as error:  # fmt: skip
            # The message may contain the whole entry, with the private part of a key.
            _log.warning("jwks.key_skipped", number=n, error=type(error).__name__)
            continue
        algorithms = _algorithms_of(key.key)  # none for a secret, which no set may publish
        if "alg" in entry:
            algorithms = tuple(each for each in algorithms if each == key.algorithm_name)
        if algorithms:
            keys.append(VerifyingKey(key.key, algorithms, key.key_id))
    return keys


def _algorithms_of(key: Any) -> tuple[str, ...]:
    if isinstance(key, RSAPublicKey):
        return _RSA
    if isinstance(key, EllipticCurvePublicKey):
        algorithm = _BY_CURVE.get(key.curve.name)
        return (algorithm,) if algorithm else ()
    return ("EdDSA",) if isinstance(key, Ed25519PublicKey) else ()
