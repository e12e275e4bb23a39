"""When a request is sent again, how often, and after which delay. Both clients use it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec

from hub_client.errors import HubClientError, HubUnavailable, HubUnreachable, TooManyRequests
from hub_client.request import Request

T = TypeVar("T")
_RETRYABLE = (TooManyRequests, HubUnreachable, HubUnavailable)


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a client retries requests.

    The delay doubles from `min_delay_seconds` to `max_delay_seconds`. A request is not retried when
    its `Retry-After` is longer than `max_delay_seconds`. An event stream reconnects without a limit
    of attempts, with the same delays.

    max_attempts: attempts of one request, the first one included.
    timeout_seconds: the time that each attempt may take.
    """

    max_attempts: int = 4
    timeout_seconds: float = 30.0
    min_delay_seconds: float = 0.2
    max_delay_seconds: float = 10.0

    def delay_seconds(self, failures: int) -> float:
        """Return the delay after this number of consecutive failures.

        The delay has jitter: otherwise all clients of a node that went down would reconnect at the
        same instant.
        """
        doubled = self.min_delay_seconds * 2.0 ** min(failures - 1, 30)
        return min(self.max_delay_seconds, doubled) * random.uniform(0.5, 1.0)

    def retry_delay_seconds(self, error: HubClientError, attempts: int) -> float | None:
        """Return the delay before the next attempt, or None when there must not be one."""
        if attempts >= self.max_attempts or not isinstance(error, _RETRYABLE):
            return None
        retry_after_seconds = error.retry_after_seconds or 0.0
        if retry_after_seconds > self.max_delay_seconds:
            return None
        return max(retry_after_seconds * random.uniform(1.0, 1.1), self.delay_seconds(attempts))


class RequestSender(Protocol):
    """What HttpClient and SyncHttpClient have in common.

    The methods are coroutines in both. Those of SyncHttpClient block and never suspend, so that
    the code above them is written once.
    """

    retry_policy: RetryPolicy

    async def send(self, request: Request[T]) -> T:
        """Send a request, retry it as the policy says, and return its result.

        Raise HubClientError.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


async def send_with_retries(
    attempt: Callable[[], Awaitable[T]],
    retry_policy: RetryPolicy,
    sleep: Callable[[float], Awaitable[None]],
) -> T:
    """Call `attempt` until it succeeds or the policy allows no further attempt.

    Raise the HubClientError of the last attempt.
    """
    attempts = 0
    while True:
        try:
            return await attempt()
        except HubClientError as error:
            attempts += 1
            delay_seconds = retry_policy.retry_delay_seconds(error, attempts)
            if delay_seconds is None:
                raise
        await sleep(delay_seconds)
