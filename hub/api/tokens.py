"""JSON Web Tokens (RFC 7519, with the best practices of RFC 8725).

The key determines the algorithm, never the token: a secret verifies HS256, an RSA key RS256, a
P-256 key ES256, an Ed25519 key EdDSA. The claims `exp` and `sub` are required, `aud` and `iss` if
the settings name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import jwt
import msgspec
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from hub.core.channel import check_user_id
from hub.error_codes import TOKEN_CLAIMS_INVALID, TOKEN_EXPIRED, TOKEN_INVALID
from hub.errors import BadRequest, OperatorError, Unauthorized

_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
_log = structlog.get_logger(__name__)


class VerifyingKey(msgspec.Struct, frozen=True):
    """A key and its only algorithm. kid: the key id, None if it has none."""

    key: Any
    algorithm: str
    kid: str | None = None


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of a valid token. expires_at: Unix seconds. token_id: the claim `jti`."""

    user: str
    topics: tuple[str, ...]
    expires_at: float
    token_id: str | None


class KeySource(Protocol):
    """A source of verifying keys."""

    async def keys_for(self, kid: str | None) -> Sequence[VerifyingKey]:
        """Return the keys that may have signed a token with this key id."""
        ...


class FixedKeys:
    """The keys in the settings."""

    def __init__(self, keys: Sequence[VerifyingKey]) -> None:
        self._keys = keys

    async def keys_for(self, kid: str | None) -> Sequence[VerifyingKey]:
        return self._keys


class TokenReader:
    """Verifies tokens with the keys of its sources."""

    def __init__(
        self,
        sources: Sequence[KeySource],
        *,
        audience: str | None,
        issuer: str | None,
        leeway_seconds: float,
    ) -> None:
        self._sources = sources
        self._audience = audience
        self._issuer = issuer
        self._leeway_seconds = leeway_seconds

    async def read(self, token: str) -> Claims:
        """Verify a token and return its claims. Raise Unauthorized."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise Unauthorized(f"the token is not valid: {error}", code=TOKEN_INVALID) from error
        kid = header.get("kid")
        failure: Exception | None = None
        for source in self._sources:
            for key in await source.keys_for(kid if isinstance(kid, str) else None):
                if key.algorithm != header.get("alg"):
                    continue
                try:
                    return _claims(self._decode(token, key))
                except jwt.ExpiredSignatureError as error:
                    raise Unauthorized("the token has expired", code=TOKEN_EXPIRED) from error
                except jwt.InvalidTokenError as error:
                    failure = error
        reason = failure or "the hub has no key for its algorithm"
        raise Unauthorized(f"the token is not valid: {reason}", code=TOKEN_INVALID) from failure

    def _decode(self, token: str, key: VerifyingKey) -> Mapping[str, Any]:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            audience=self._audience,
            issuer=self._issuer,
            leeway=self._leeway_seconds,
            options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
        )
        return claims


def _claims(claims: Mapping[str, Any]) -> Claims:
    topics = claims.get("topics", [])
    if not isinstance(topics, list) or not all(isinstance(topic, str) for topic in topics):
        raise Unauthorized(
            "the claim topics must be a list of topic names", code=TOKEN_CLAIMS_INVALID
        )
    try:
        user = check_user_id(claims["sub"], path="sub")
    except BadRequest as error:
        raise Unauthorized(
            f"the claim sub is not a valid user id: {error.detail}", code=TOKEN_CLAIMS_INVALID
        ) from error
    token_id = claims.get("jti")
    return Claims(
        user=user,
        topics=tuple(topics),
        expires_at=float(claims["exp"]),
        token_id=token_id if isinstance(token_id, str) else None,
    )


def secret_key(secret: str) -> VerifyingKey:
    """Return the key of a shared secret, for HS256."""
    return VerifyingKey(secret, "HS256")


def public_key(pem: str) -> VerifyingKey:
    """Read a public key in PEM. Raise OperatorError if it cannot be used."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise OperatorError(
            "auth.public_keys has an entry that is not a public key in PEM"
        ) from error
    if isinstance(key, RSAPublicKey):
        return VerifyingKey(key, "RS256")
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return VerifyingKey(key, "ES256")
    if isinstance(key, Ed25519PublicKey):
        return VerifyingKey(key, "EdDSA")
    raise OperatorError("auth.public_keys accepts RSA, P-256 and Ed25519 keys")


def parse_jwks(document: Any) -> list[VerifyingKey]:
    """Return the usable keys of a JWK set (RFC 7517) and skip the others."""
    keys = []
    entries = document.get("keys") if isinstance(document, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        try:
            if entry.get("use", "sig") != "sig":
                continue
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, AttributeError, TypeError, ValueError) as error:
            _log.warning("jwks.key_skipped", error=str(error))
            continue
        if key.algorithm_name in _ALGORITHMS:
            keys.append(VerifyingKey(key.key, key.algorithm_name, key.key_id))
    return keys
