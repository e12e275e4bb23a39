"""How the hub is visited from outside: where, as whom, for how long."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import jwt
import msgspec

from hub.http.proxy_probe import REQUEST_HEADER

USER: Final = "hub-doctor"


class ProbeTarget(msgspec.Struct, frozen=True):
    """url: what clients have, up to before /sse. seconds: how long streams are looked at.

    internal_url, key: where test events can be published, if anywhere. patience_seconds: what has
    not come so long after it was due is held back. named: whose stream, where no token says it.
    """

    url: str
    seconds: float
    token: str | None = None
    internal_url: str | None = None
    key: str | None = None
    timeout_seconds: float = 4.0
    named: str = USER

    @property
    def user(self) -> str:
        """Whose stream it is."""
        if self.token is None:
            return self.named
        try:
            claims: dict[str, Any] = jwt.decode(self.token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return self.named
        return str(claims.get("sub", self.named))

    @property
    def headers(self) -> dict[str, str]:
        """Of each request: who asks, and that the node should say how it was reached."""
        login = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return {REQUEST_HEADER: "1", **login}

    def route(self, way: str) -> str:
        """The URL of a way to stream: sse, ws, poll."""
        return f"{self.url.rstrip('/')}/{way}/connect/{quote(self.user, safe='')}"
