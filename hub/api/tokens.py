"""JSON Web Tokens (RFC 7519, with the best practices of RFC 8725).

The key determines the algorithms, never the token: a secret verifies HS256, HS384 and HS512, an RSA
key RS256 to PS512, a P-256 key ES256, a P-384 key ES384, a P-521 key ES512, an Ed25519 key EdDSA.
The issuer of a token (`iss`) determines the keys. The claim `exp` and the claim that holds the user
are required, `aud` and `iss` if the settings name them. A claim that is null counts as absent, as
in the bodies of requests (null_members.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import jwt
import msgspec

from hub.api.scopes import ALL_SCOPES, parse_scopes
from hub.api.verifying_keys import VerifyingKey
from hub.core.channel import check_user_id
from hub.error_codes import TOKEN_CLAIMS_INVALID, TOKEN_EXPIRED, TOKEN_INVALID
from hub.errors import BadRequest, Unauthorized

MAX_EXPIRES_AT: Final = 253402300799.0
"""The last second of the year 9999. Later times of expiry count as this one."""
_MAX_SHOWN_CHARS: Final = 64
# PyJWT raises OverflowError for some numbers, and TypeError for some types: _check_times and
# _claims check these claims.
_OPTIONS: Final[dict[str, Any]] = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}
_UNVERIFIED: Final[Any] = {"verify_signature": False}
# What PyJWT raises for a token that is not valid: json.loads and base64 have errors of their own.
_INVALID: Final = (jwt.InvalidTokenError, ValueError, TypeError, RecursionError)


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of a valid token.

    expires_at: Unix seconds. token_id: the claim `jti`. scopes: what the token allows (scopes.py).
    topics, ask_topics: the topics that the user may follow, and those in which the user may ask.
    """

    user: str
    topics: tuple[str, ...]
    expires_at: float
    token_id: str | None
    scopes: frozenset[str] = ALL_SCOPES
    ask_topics: tuple[str, ...] = ()


class KeySource(Protocol):
    """A source of verifying keys."""

    async def keys_for(self, kid: str | None) -> Sequence[VerifyingKey]:
        """Return the keys that may have signed a token with this key id.

        Raise KeySetUnavailable if they cannot be known now.
        """
        ...


class FixedKeys:
    """The keys in the settings."""

    def __init__(self, keys: Sequence[VerifyingKey]) -> None:
        self._keys = keys

    async def keys_for(self, kid: str | None) -> Sequence[VerifyingKey]:
        return self._keys


class TokenIssuer(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs tokens, and what their tokens must contain.

    issuer: the claim `iss`; None for tokens of any issuer that has no TokenIssuer of its own.
    audience: what the claim `aud` must contain; None accepts any. user_claim: the claim that holds
    the user id.
    """

    sources: Sequence[KeySource]
    issuer: str | None = None
    audience: str | None = None
    user_claim: str = "sub"


class TokenReader:
    """Verifies tokens with the keys of their issuers.

    require_scope: whether a token without a scope of the hub allows nothing. wall: returns the time
    in Unix seconds.
    """

    def __init__(
        self,
        issuers: Sequence[TokenIssuer],
        *,
        leeway_seconds: float,
        require_scope: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._require_scope = require_scope
        self._issuers = {each.issuer: each for each in issuers}
        self._leeway_seconds = leeway_seconds
        self._wall = wall

    async def read(self, token: str) -> Claims:
        """Verify a token and return its claims. Raise Unauthorized, KeySetUnavailable."""
        header, issuer = self._parse(token)
        kid, algorithm = header.get("kid"), header.get("alg")
        known: dict[str, None] = {}  # the algorithms of all keys, in order
        failure: Exception | None = None
        for source in issuer.sources:
            for key in await source.keys_for(kid if isinstance(kid, str) else None):
                known |= dict.fromkeys(key.algorithms)
                if algorithm not in key.algorithms:
                    continue
                try:
                    claims = self._decode(token, key, algorithm, issuer)
                except _INVALID as error:
                    failure = error
                else:
                    self._check_times(claims)
                    return _claims(claims, issuer.user_claim, require_scope=self._require_scope)
        raise _refusal(failure, algorithm, list(known))

    def _parse(self, token: str) -> tuple[Mapping[str, Any], TokenIssuer]:
        """Return the header and the issuer of a token that is not verified yet."""
        try:
            if not token.isascii():
                raise jwt.DecodeError("it has characters that are not ASCII")
            header = jwt.get_unverified_header(token)
            name = None
            if any(issuer is not None for issuer in self._issuers):
                name = jwt.decode(token, options=_UNVERIFIED).get("iss")
        except _INVALID as error:
            raise _invalid(_reason(error)) from error
        issuer = self._issuers.get(name if isinstance(name, str) else None)
        issuer = issuer or self._issuers.get(None)
        if issuer is None:
            raise _invalid(f"its issuer, {_shown(name)}, is not one of the hub's")
        return header, issuer

    def _decode(
        self, token: str, key: VerifyingKey, algorithm: str, issuer: TokenIssuer
    ) -> Mapping[str, Any]:
        options: Any = {
            **_OPTIONS,
            "require": ["exp", issuer.user_claim],
            "verify_aud": issuer.audience is not None,
        }
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            options=options,
        )
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now, leeway = self._wall(), self._leeway_seconds
        if _numeric_date(claims, "exp") <= now - leeway:
            raise Unauthorized("the token has expired", code=TOKEN_EXPIRED)
        for name in ("nbf", "iat"):
            is_given = claims.get(name) is not None
            if is_given and _numeric_date(claims, name) > now + leeway:
                raise Unauthorized(
                    f"the token is not valid yet: its {name} is in the future", code=TOKEN_INVALID
                )


def _claims(claims: Mapping[str, Any], user_claim: str, *, require_scope: bool) -> Claims:
    user, token_id = claims[user_claim], claims.get("jti")
    if isinstance(user, int) and not isinstance(user, bool):
        user = str(user)  # many applications number their users
    if not isinstance(user, str):
        raise _wrong_claim(f"{user_claim} must be a text or an integer")
    if isinstance(token_id, str) and not _is_text(token_id):
        raise _wrong_claim("jti must be a text")
    try:
        check_user_id(user, path=user_claim)
    except BadRequest as error:
        raise _wrong_claim(f"{user_claim} is not a user id: {error.detail}") from error
    return Claims(
        user=user,
        topics=_topic_names(claims, "topics"),
        expires_at=min(_numeric_date(claims, "exp"), MAX_EXPIRES_AT),
        token_id=token_id if isinstance(token_id, str) else None,
        scopes=parse_scopes(claims.get("scope"), require_scope=require_scope),
        ask_topics=_topic_names(claims, "ask_topics"),
    )


def _topic_names(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the topics in a claim. Raise Unauthorized."""
    topics = claims.get(name)
    if topics is None:
        topics = []
    if not isinstance(topics, list) or not all(_is_text(topic) for topic in topics):
        raise _wrong_claim(f"{name} must be a list of topic names")
    return tuple(topics)


def _numeric_date(claims: Mapping[str, Any], name: str) -> float:
    """Return a NumericDate (RFC 7519, section 2), a finite number. Raise Unauthorized."""
    value = claims[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and (isinstance(value, int) or math.isfinite(value)):
        return float(min(max(value, -MAX_EXPIRES_AT), MAX_EXPIRES_AT))
    raise _invalid(f"its {name} must be a number of seconds")


def _is_text(value: object) -> bool:
    """Return whether a value is a text without surrogates, which JSON can express."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _refusal(failure: Exception | None, algorithm: object, known: Sequence[str]) -> Unauthorized:
    """Return why no key verified the token."""
    if isinstance(failure, jwt.InvalidSignatureError):
        reason = "its signature does not match: it was signed with another key than the hub has"
    elif failure is not None:
        reason = _reason(failure)
    elif not known:
        reason = "the hub has no key with its key id (kid)"
    else:
        taken = ", ".join(known)
        reason = f"the hub has no key for its algorithm, {_shown(algorithm)}; it takes {taken}"
    return _invalid(reason)


def _invalid(reason: str) -> Unauthorized:
    return Unauthorized(f"the token is not valid: {reason}", code=TOKEN_INVALID)


def _wrong_claim(rule: str) -> Unauthorized:
    return Unauthorized(f"the claim {rule}", code=TOKEN_CLAIMS_INVALID)


def _reason(error: Exception) -> str:
    """Return the sentence of a PyJWT error; other errors may quote the token."""
    return str(error) if isinstance(error, jwt.InvalidTokenError) else "it cannot be decoded"


def _shown(value: object) -> str:
    """Return a value of a token as text of bounded length."""
    return ascii(value)[:_MAX_SHOWN_CHARS] if value is not None else "none"
