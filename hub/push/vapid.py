"""The keys by which push services know this server: VAPID (RFC 8292), an ECDSA key on P-256."""

from __future__ import annotations

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from hub.core.push_subscription import decode_base64url, encode_base64url

_PRIVATE_KEY_BYTES = 32


class VapidKeys(msgspec.Struct, frozen=True):
    """Both keys in base64url: the public key as an uncompressed point, the private key as a number.

    Browsers get the public key; subscriptions work with this pair of keys only.
    """

    public_key: str
    private_key: str


def generate_vapid_keys() -> VapidKeys:
    """Return new keys."""
    return _format(ec.generate_private_key(ec.SECP256R1()))


def load_vapid_keys(private_key: str) -> VapidKeys:
    """Return the keys of a private key: 32 bytes in base64url, or PEM. Raise ValueError."""
    text = private_key.strip()
    if text.startswith("-----BEGIN"):
        try:
            key = load_pem_private_key(text.encode(), password=None)
        except (TypeError, UnsupportedAlgorithm) as error:  # it needs a password
            raise ValueError("the PEM text has no private key without a password") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise ValueError("the PEM text has no private key of P-256")
        return _format(key)
    number = decode_base64url(text)
    if len(number) != _PRIVATE_KEY_BYTES:
        raise ValueError("the key must have 32 bytes in base64url")
    return _format(ec.derive_private_key(int.from_bytes(number), ec.SECP256R1()))


def _format(key: ec.EllipticCurvePrivateKey) -> VapidKeys:
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    number = key.private_numbers().private_value.to_bytes(_PRIVATE_KEY_BYTES)
    return VapidKeys(encode_base64url(point), encode_base64url(number))
