"""How long the client tries: what is repeated, how often, and after which pause."""

from __future__ import annotations

import random

import msgspec

from hub.client.errors import HubClientError, HubUnavailable, HubUnreachable, TooManyRequests

_PASSING = (TooManyRequests, HubUnreachable, HubUnavailable)


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """tries: of one call, the first included. timeout_seconds: of each of them. A pause doubles
    from the first to the longest one; a `Retry-After` beyond the longest is not waited for.

    A stream tries for ever, with the same pauses.
    """

    max_attempts: int = 4
    timeout_seconds: float = 30.0
    min_delay_seconds: float = 0.2
    max_delay_seconds: float = 10.0

    def delay_seconds(self, failures: int) -> float:
        """After so many failures in a row. With jitter, or all clients of a node that went down
        would return in the same instant.
        """
        doubled = self.min_delay_seconds * 2.0 ** min(failures - 1, 30)
        return min(self.max_delay_seconds, doubled) * random.uniform(0.5, 1.0)

    def wait_seconds(self, error: HubClientError, tried: int) -> float | None:
        """How long to wait before a call that failed is made again; None: it is not."""
        if tried >= self.max_attempts or not isinstance(error, _PASSING):
            return None
        asked = error.retry_after_seconds or 0.0
        if asked > self.max_delay_seconds:
            return None
        return max(asked * random.uniform(1.0, 1.1), self.delay_seconds(tried))
