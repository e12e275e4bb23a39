"""Webhooks: endpoints, the events that they get, and the body and the signature of a request.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from standardwebhooks import Webhook

from hub.core.channel import Channel
from hub.core.event import encode_json

WEBHOOK_QUEUE: Final = "webhook"
EventName = Literal[
    "generation.done",
    "generation.stopped",
    "generation.failed",
    "generation.input_requested",
    "inbox.read",
    "push.failed",
    "user.connected",
    "user.disconnected",
]
EVENT_NAMES: Final[tuple[str, ...]] = EventName.__args__  # type: ignore[attr-defined]
TEST_EVENT: Final = "webhook.test"
MAX_ENDPOINTS: Final = 100
"""The number of endpoints that the API may create."""
MAX_SECRETS: Final = 2
MAX_BODY_BYTES: Final = 2 * 1024 * 1024
_PREFIX: Final = "whsec_"  # of secrets
_MIN_KEY_BYTES: Final = 24
_MAX_KEY_BYTES: Final = 64
_ID: Final = re.compile(r"[sw]_[0-9a-f]{12}")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A receiver of webhooks.

    secrets: the current one, and during a rotation the one before. events: the names of the events
    that it gets. include: `record` if the body has the whole answer. allow_private: whether the URL
    may be HTTP and lead to an address that is not public; only settings may say so.
    """

    id: str
    url: str
    secrets: tuple[str, ...]
    events: tuple[str, ...] = EVENT_NAMES
    include: str | None = None
    allow_private: bool = False

    @property
    def is_from_settings(self) -> bool:
        """Whether the settings name it, and not the API."""
        return is_settings_endpoint_id(self.id)


def new_endpoint_id() -> str:
    """Return a random id of an endpoint that the API creates."""
    return f"w_{secrets.token_hex(6)}"


def settings_endpoint_id(url: str) -> str:
    """Return the id of an endpoint of the settings. It stays the same while the URL does."""
    return f"s_{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def is_settings_endpoint_id(text: str) -> bool:
    """Return whether the id of an endpoint is one of the settings."""
    return text.startswith("s_")


def is_endpoint_id(text: str) -> bool:
    """Return whether a text may be the id of an endpoint."""
    return _ID.fullmatch(text) is not None


def new_secret() -> str:
    """Return a random secret in the form of Standard Webhooks."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def find_secret_problem(secret: str) -> str | None:
    """Return why a text is no secret, as the end of a sentence; None if it is one."""
    encoded = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return "must be whsec_ and base64, as `hub webhooks secret` prints it"
    if not _MIN_KEY_BYTES <= len(key) <= _MAX_KEY_BYTES:
        return f"must stand for {_MIN_KEY_BYTES} to {_MAX_KEY_BYTES} bytes"
    return None


def build_body(event: str, data: Mapping[str, Any], now: float) -> bytes:
    """Return the body of a request. now: the time of the event in Unix seconds."""
    timestamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    return encode_json({"type": event, "timestamp": timestamp.replace("+00:00", "Z"), "data": data})


def build_headers(
    endpoint: Endpoint, identifier: str, body: bytes, now: float
) -> Mapping[str, str]:
    """Return the headers of an attempt, with a signature for each secret.

    identifier: the same for each attempt. now: the time of the attempt in Unix seconds.
    """
    return {
        "Content-Type": "application/json",
        "User-Agent": "hub-webhooks",
        "Webhook-Id": identifier,
        "Webhook-Timestamp": str(int(now)),
        "Webhook-Signature": sign(endpoint.secrets, identifier, body, now),
    }


def sign(keys: Sequence[str], identifier: str, body: bytes, now: float) -> str:
    """Return the value of the header `webhook-signature`: one signature for each secret."""
    time, text = datetime.fromtimestamp(int(now), UTC), body.decode()
    return " ".join(Webhook(key).sign(identifier, time, text) for key in keys)


def channel_fields(channel: Channel) -> dict[str, str]:
    """Return the user or the topic of a channel, as a body has it."""
    kind, _, name = channel.partition(":")
    return {kind: name} if name else {}
