"""Users' questions to an upstream of the kind queue: what both clients send for them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hub_client.producing import Attempt
from hub_client.request import Request, build_path, response_reader, without_none
from hub_client.retry_policy import RetryPolicy

_WAIT_SECONDS: Final = 20.0
_RETURN_TIMEOUT_SECONDS: Final = 5.0


class JobRequest(Attempt, frozen=True, kw_only=True):
    """What a user asked, and the lease of the attempt at its answer."""

    user: str
    chat: str | None
    prompt: str
    messages: list[dict[str, Any]]
    model: str
    params: dict[str, Any]
    metadata: dict[str, Any]


class Claimed(msgspec.Struct, frozen=True):
    """The hub's answer to a claim. jobs: none if there was none in time."""

    jobs: list[JobRequest]


class JobFacts:
    """What a job asks, for the asynchronous and the synchronous client."""

    request: JobRequest

    @property
    def user(self) -> str:
        """The user who asked."""
        return self.request.user

    @property
    def prompt(self) -> str:
        """The text of the user's last message."""
        return self.request.prompt

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation."""
        return self.request.messages


def claim_request(
    queue: str, claim_id: str, lease_seconds: float | None, wait_seconds: float = _WAIT_SECONDS
) -> Request[Claimed]:
    """Build `POST /jobs/claim`, which waits for a job."""
    body = {
        "queue": queue,
        "claim_id": claim_id,
        "wait_seconds": wait_seconds,
        "lease_seconds": lease_seconds,
    }
    return Request(
        method="POST",
        path=build_path("jobs", "claim"),
        body=msgspec.json.encode(without_none(body)),
        read=response_reader(Claimed),
    )


def return_policy(policy: RetryPolicy) -> RetryPolicy:
    """Return how the jobs of a cancelled claim are returned: soon, or not at all.

    The repetition of the claim without a wait gets the same jobs. policy: that of the client.
    """
    return msgspec.structs.replace(policy, max_attempts=1, timeout_seconds=_RETURN_TIMEOUT_SECONDS)


def release_request(attempt: Attempt) -> Request[None]:
    """Build `DELETE /generations/{id}/lease`, which returns a job."""
    return Request(
        method="DELETE",
        path=build_path("generations", attempt.generation, "lease"),
        read=lambda _: None,
        more_headers={"Hub-Lease": attempt.lease},
    )
