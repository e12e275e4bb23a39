"""A browser's push subscription: where a push service takes messages, and the keys to encrypt them.

Source: the Push API (W3C), PushSubscription.toJSON(), and RFC 8291, section 3.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import msgspec

from hub.core.public_addresses import find_url_problem
from hub.errors import BadRequest

WEB_PUSH: Final = "web_push"
_AUTH_BYTES: Final = 16
_PUBLIC_KEY_BYTES: Final = 65  # an uncompressed point on P-256
_UNCOMPRESSED: Final = 4
_ID_BYTES: Final = 24
_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


class PushSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """Where the notifications of one device go.

    id: made from the endpoint. channel: the name of the PushChannel that sends them. endpoint: the
    URL of the push service, which is a secret. p256dh, auth: the public key and the secret of the
    browser, in base64url without padding.
    """

    id: str
    channel: str = WEB_PUSH
    endpoint: str
    p256dh: str
    auth: str


def web_push_subscription(
    endpoint: str, p256dh: str, auth: str, *, allow_private: bool
) -> PushSubscription:
    """Check what a browser sent and return the subscription. Raise BadRequest."""
    problem = find_url_problem(endpoint, allow_private=allow_private)
    if problem is not None:
        raise BadRequest(f"endpoint {problem}", path="endpoint")
    key = _decode(p256dh)
    if key is None or not _is_point(key):
        raise BadRequest("keys.p256dh is not a public key of P-256", path="keys.p256dh")
    secret = _decode(auth)
    if secret is None or len(secret) != _AUTH_BYTES:
        raise BadRequest(f"keys.auth must have {_AUTH_BYTES} bytes in base64url", path="keys.auth")
    return PushSubscription(
        id=subscription_id(endpoint),
        endpoint=endpoint,
        p256dh=encode_base64url(key),
        auth=encode_base64url(secret),
    )


def subscription_id(endpoint: str) -> str:
    """Return the id of the subscription with an endpoint: 32 characters of base64url."""
    return encode_base64url(hashlib.sha256(endpoint.encode()).digest()[:_ID_BYTES])


def encode_base64url(value: bytes) -> str:
    """Return bytes in base64url without padding (RFC 4648, section 5)."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes:
    """Return the bytes of base64url text, with or without padding. Raise ValueError."""
    text = text.rstrip("=")
    decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode_base64url(decoded) != text:
        raise ValueError("not base64url")
    return decoded


def _decode(text: str) -> bytes | None:
    try:
        return decode_base64url(text)
    except ValueError:
        return None


def _is_point(key: bytes) -> bool:
    """Return whether these bytes are an uncompressed point on the curve P-256 (SEC 1, 2.3.4)."""
    if len(key) != _PUBLIC_KEY_BYTES or key[0] != _UNCOMPRESSED:
        return False
    x, y = int.from_bytes(key[1:33]), int.from_bytes(key[33:])
    return x < _P and y < _P and (y * y - (x * x * x - 3 * x + _B)) % _P == 0
