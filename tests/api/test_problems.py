from __future__ import annotations

import pytest

from hub.api.problems import BROKER_UNAVAILABLE, ErrorDescription, describe_error, problem_document
from hub.errors import (
    BadRequest,
    BrokerUnavailable,
    CallbackUnavailable,
    GenerationStillRunning,
    HubError,
    NodeBusy,
    NotFound,
    TooManyRequests,
)


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (BadRequest("no", path="to.user"), ErrorDescription(400, "no", "to.user")),
        (NotFound("no"), ErrorDescription(404, "no")),
        (
            TooManyRequests("no", limit="publishes", retry_after_seconds=7),
            ErrorDescription(429, "no", None, 7),
        ),
        (
            BrokerUnavailable("redis-0:6379 refused the connection"),
            ErrorDescription(503, BROKER_UNAVAILABLE, None, 1),
        ),
        (NodeBusy("draining"), ErrorDescription(503, "draining", None, 1)),
        (CallbackUnavailable("no"), ErrorDescription(503, "no", None, 1)),
        (GenerationStillRunning("no"), ErrorDescription(503, "no")),
    ],
)
def test_description(error: HubError, description: ErrorDescription) -> None:
    """Each error has a status and a retry delay, and the broker's host names are not revealed."""
    assert describe_error(error) == description


def test_problem_document() -> None:
    """The document has the fields of RFC 9457, and the path only for an invalid field."""
    document = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "no"}
    assert problem_document(400, "no") == document
    assert problem_document(400, "no", "data") == {**document, "path": "data"}
