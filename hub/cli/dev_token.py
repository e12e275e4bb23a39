"""Users' tokens signed with the settings' own secret, for development and for `hub doctor`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import jwt

from hub.settings.models import Auth


def sign_dev_token(
    auth: Auth, user: str, ttl_seconds: int, topics: Sequence[str] = ()
) -> str | None:
    """A JWT (HS256) as these settings take it; None where they have no auth.hmac_secret."""
    if auth.hmac_secret is None:
        return None
    now = int(time.time())
    claims: dict[str, Any] = {"sub": user, "iat": now, "exp": now + ttl_seconds}
    said = {"topics": list(topics) or None, "aud": auth.audience, "iss": auth.issuer}
    claims |= {name: value for name, value in said.items() if value is not None}
    return jwt.encode(claims, auth.hmac_secret.get_secret_value(), algorithm="HS256")
