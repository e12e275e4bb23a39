"""Tokens: algorithms, issuers, the user's claim, and claims of every odd type and size."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import MAX_EXPIRES_AT, Claims, FixedKeys, TokenIssuer, TokenReader
from hub.api.verifying_keys import parse_jwks, secret_key
from hub.errors import Unauthorized
from tests.http.kit import running_hub

NOW = 1_800_000_000.0
SECRET = "s" * 64
OTHER = "o" * 64


def reader(*issuers: TokenIssuer) -> TokenReader:
    """Return a reader with a held clock."""
    return TokenReader(issuers, leeway_seconds=5.0, wall=lambda: NOW)


def issuer(secret: str = SECRET, **fields: Any) -> TokenIssuer:
    return TokenIssuer(sources=[FixedKeys([secret_key(secret)])], **fields)


def sign(claims: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    return sign_text(json.dumps(claims), secret, algorithm)


def sign_text(payload: str, secret: str = SECRET, algorithm: str = "HS256") -> str:
    """Sign any payload, also one that PyJWT would refuse to sign."""
    return jwt.PyJWS().encode(payload.encode("utf-8", "surrogatepass"), secret, algorithm)


def claims(**changes: Any) -> dict[str, Any]:
    return {"sub": "alice", "exp": int(NOW) + 60, **changes}


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_secret_verifies_each_hash(algorithm: str) -> None:
    """Libraries choose the hash by the length of the secret; the hub accepts all three."""
    assert (await reader(issuer()).read(sign(claims(), algorithm=algorithm))).user == "alice"


async def test_refusal_names_the_algorithms() -> None:
    """A token of another algorithm is refused with the algorithms that the hub takes."""
    private = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode(claims(), private, algorithm="ES256")
    with pytest.raises(Unauthorized, match=r"'ES256'; it takes HS256, HS384, HS512"):
        await reader(issuer()).read(token)


def test_key_set_respects_alg_and_hides_no_secret() -> None:
    """A key with `alg` verifies that one, a key without it all of its type, a secret none."""
    public = rsa.generate_private_key(65537, 2048).public_key()
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public))
    oct_key = {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}
    plain, bound = parse_jwks({"keys": [jwk, {**jwk, "alg": "RS512"}, oct_key]})
    assert plain.algorithms == ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
    assert bound.algorithms == ("RS512",)


@given(
    entries=st.lists(
        st.one_of(
            st.sampled_from(["S3CRET", None, 5, ["S3CRET"]]),
            st.dictionaries(
                st.sampled_from(["kty", "use", "alg", "kid", "crv", "k", "n", "e", "d", "x", "y"]),
                st.sampled_from(
                    [
                        *("RSA", "EC", "OKP", "oct", "sig", "RS256", "P-256", "Ed448", "AQAB"),
                        *("S3CRET", "", None, 5, ["S3CRET"], {"a": "S3CRET"}),
                    ]
                ),
            ),
        )
    )
)
def test_odd_entries_of_a_key_set_are_skipped(entries: list[Any]) -> None:
    """Whatever an entry is, it is no error, and the log shows nothing of it: a set that was made
    by mistake from private keys holds secrets.
    """
    with capture_logs() as logs:
        parse_jwks({"keys": entries})
    assert "S3CRET" not in str(logs)


async def test_issuer_chooses_the_keys() -> None:
    """Each issuer has its own keys, audience and user claim; a key of one does not sign for
    another.
    """
    tokens = reader(
        issuer(),
        issuer(OTHER, issuer="https://idp", audience="hub", user_claim="https://idp/user"),
    )
    assert (await tokens.read(sign(claims()))).user == "alice"
    assert (await tokens.read(sign(claims(iss="anybody")))).user == "alice"
    named = claims(iss="https://idp", aud=["hub", "x"], **{"https://idp/user": "auth0|5f7c"})
    assert (await tokens.read(sign(named, OTHER))).user == "auth0|5f7c"
    for refused, secret in (
        (named, SECRET),
        (claims(), OTHER),
        ({**named, "aud": "other"}, OTHER),
        (claims(iss="https://idp", aud="hub"), OTHER),
    ):
        with pytest.raises(Unauthorized, match="not valid"):
            await tokens.read(sign(refused, secret))


async def test_unknown_issuer_is_named() -> None:
    """Where every issuer is named, a token of another one is refused with its name."""
    with pytest.raises(Unauthorized, match=r"its issuer, 'other', is not one of the hub's"):
        await reader(issuer(issuer="me")).read(sign(claims(iss="other")))
    unnamed: list[Any] = [None, 5, [], {"a": 1}]
    for odd in unnamed:
        with pytest.raises(Unauthorized, match="its issuer"):
            await reader(issuer(issuer="me")).read(sign(claims(iss=odd)))


async def test_null_claims_are_absent() -> None:
    """Many libraries write null for a claim without a value; required claims must have one."""
    optional = {"topics": None, "nbf": None, "iat": None, "jti": None, "aud": None, "iss": None}
    read = await reader(issuer()).read(sign(claims(**optional)))
    assert read == Claims(user="alice", topics=(), expires_at=NOW + 60, token_id=None)
    for required in ("exp", "sub"):
        with pytest.raises(Unauthorized):
            await reader(issuer()).read(sign(claims(**{required: None})))


async def test_numbered_user() -> None:
    """An integer in the user's claim is its decimal form."""
    read = reader(issuer(user_claim="user_id"))
    assert (await read.read(sign(claims(user_id=42)))).user == "42"


async def test_expiry_beyond_all_calendars() -> None:
    """A finite number is a time, however large; it counts as the end of the year 9999."""
    for exp in ("1e308", "1" + "0" * 400, "253402300800"):
        payload = f'{{"sub": "alice", "exp": {exp}}}'
        assert (await reader(issuer()).read(sign_text(payload))).expires_at == MAX_EXPIRES_AT
    for exp in ("1e999", "NaN", "-Infinity", '"5"', "true", "null", "[]", "{}"):
        with pytest.raises(Unauthorized, match="exp"):
            await reader(issuer()).read(sign_text(f'{{"sub": "alice", "exp": {exp}}}'))
    for exp in ("-1e308", "-1" + "0" * 400, "0"):
        with pytest.raises(Unauthorized, match="has expired"):
            await reader(issuer()).read(sign_text(f'{{"sub": "alice", "exp": {exp}}}'))


_NUMBERS = st.sampled_from(
    ["1e308", "-1e308", "1e999", "-1e999", "NaN", "Infinity", "1" + "0" * 5000, "-0.0", "1e-400"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
).map(json.dumps)
_CLAIMS = ["sub", "exp", "nbf", "iat", "iss", "aud", "jti", "topics", "crit", "user"]


@given(st.dictionaries(st.sampled_from(_CLAIMS), _NUMBERS | _JSON))
async def test_any_claim_is_accepted_or_refused(odd: dict[str, str]) -> None:
    """Whatever a valid signature covers, the result is claims that the hub can use, or a 401."""
    given_claims = {"sub": '"alice"', "exp": str(int(NOW) + 60), **odd}
    text = "{" + ", ".join(f'"{name}": {value}' for name, value in given_claims.items()) + "}"
    for tokens in (
        reader(issuer()),
        reader(issuer(issuer="me", audience="hub")),
        reader(issuer(user_claim="user")),
    ):
        with suppress(Unauthorized):
            check_usable(await tokens.read(sign_text(text)))


def check_usable(read: Claims) -> None:
    """Check that the claims can be stored, shown and compared with times."""
    for text in (read.user, read.token_id or "", *read.topics):
        text.encode()
    assert NOW - 5 < read.expires_at <= MAX_EXPIRES_AT


@given(st.binary(max_size=60) | st.sampled_from([b"[" * 9000, b"{}", b'{"alg":[]}', b'{"kid":1}']))
async def test_any_bytes_are_refused(part: bytes) -> None:
    """Whatever stands in place of a token is a 401."""
    encoded = base64.urlsafe_b64encode(part).rstrip(b"=").decode()
    raw = part.decode("utf-8", "surrogateescape")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=").decode()
    for tokens in (reader(issuer()), reader(issuer(issuer="me"))):
        for token in (raw, encoded, f"{encoded}.e30.x", f"{head}.{encoded}.x", f"{head}.e30.{raw}"):
            with pytest.raises(Unauthorized, match="not valid"):
                await tokens.read(token)


async def test_expiry_of_1e308_opens_a_stream() -> None:
    """A token that never ends opens every kind of stream and a ticket."""
    read = TokenReader([issuer()], leeway_seconds=5.0)
    authenticator = JwtAuthenticator(read, AllowedOrigins([]))
    token = sign_text('{"sub": "alice", "exp": 1e308}')
    headers = {"Authorization": f"Bearer {token}"}
    async with running_hub(authenticator) as hub:
        async with hub.stream("/sse/connect/alice", headers=headers) as stream:
            assert stream.opened.name == "hub.open"
        status, ticket = await hub.call("POST", "/tickets", headers=headers)
        assert status == 201
        async with hub.stream(f"/sse/connect?ticket={ticket['ticket']}") as stream:
            assert stream.opened.name == "hub.open"
        assert (await hub.call("GET", "/poll/connect?wait=0", headers=headers))[0] == 200
