"""What a check gets and returns: the target of the checks through a proxy, and a result."""

from __future__ import annotations

from typing import Any, Final, Literal
from urllib.parse import quote

import jwt
import msgspec

from hub.http.proxy_probe import REQUEST_HEADER

PROBE_USER: Final = "hub-doctor"


class CheckResult(msgspec.Struct, frozen=True):
    """The result of one check.

    status: `warn` means that it works now, but may fail later or under load.
    advice: how to fix it; empty when the status is `ok`.
    """

    check: str
    status: Literal["ok", "warn", "fail"]
    message: str
    advice: str = ""


def ok(check: str, message: str) -> CheckResult:
    """Return a result without a problem."""
    return CheckResult(check, "ok", message)


def warn(check: str, message: str, advice: str) -> CheckResult:
    """Return a result for something that works now, but may fail later or under load."""
    return CheckResult(check, "warn", message, advice)


def fail(check: str, message: str, advice: str) -> CheckResult:
    """Return a result for something that does not work or is not safe."""
    return CheckResult(check, "fail", message, advice)


class ProbeTarget(msgspec.Struct, frozen=True):
    """The hub to check from outside, the user to connect as, and how long to wait.

    url: the URL that clients use, without `/sse/…`.
    seconds: how long to watch the streams.
    internal_url, key: where to publish test events; None means that none are published.
    timeout_seconds: something that is later than this counts as buffered by the proxy.
    default_user: the user when there is no token that names one.
    """

    url: str
    seconds: float
    token: str | None = None
    internal_url: str | None = None
    key: str | None = None
    timeout_seconds: float = 4.0
    default_user: str = PROBE_USER

    @property
    def user(self) -> str:
        """The user whose stream is opened."""
        if self.token is None:
            return self.default_user
        try:
            claims: dict[str, Any] = jwt.decode(self.token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return self.default_user
        return str(claims.get("sub", self.default_user))

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each request: the token, and the request for a Hub-Doctor-Report."""
        login = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        return {REQUEST_HEADER: "1", **login}

    def connect_url(self, transport: str) -> str:
        """Return the URL that opens a connection. transport: `sse`, `ws` or `poll`."""
        return f"{self.url.rstrip('/')}/{transport}/connect/{quote(self.user, safe='')}"
