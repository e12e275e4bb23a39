from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.api.problems import ErrorDescription, describe_error, problem_document
from hub.error_codes import ERROR_CODES, NODE_DRAINING
from hub.errors import (
    BadRequest,
    BrokerOutOfMemory,
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
        (
            BadRequest("no", path="to.user"),
            ErrorDescription(400, "invalid_field", "no", "to.user"),
        ),
        (NotFound("no"), ErrorDescription(404, "route_not_found", "no")),
        (
            TooManyRequests("no", limit="publishes", retry_after_seconds=7),
            ErrorDescription(429, "rate_limited", "no", None, 7),
        ),
        (
            BrokerUnavailable("redis-0:6379 refused the connection"),
            ErrorDescription(
                503, "broker_unavailable", "the broker is unavailable; try again", None, 1
            ),
        ),
        (
            BrokerOutOfMemory("redis-0:6379: OOM"),
            ErrorDescription(503, "broker_out_of_memory", BrokerOutOfMemory.public_detail, None, 1),
        ),
        (
            NodeBusy("draining", code=NODE_DRAINING),
            ErrorDescription(503, "node_draining", "draining", None, 1),
        ),
        (CallbackUnavailable("no"), ErrorDescription(503, "callback_unavailable", "no", None, 1)),
        (GenerationStillRunning("no"), ErrorDescription(503, "generation_still_running", "no")),
    ],
)
def test_description(error: HubError, description: ErrorDescription) -> None:
    """Each error has a status and a retry delay, and the broker's host names are not revealed."""
    assert describe_error(error) == description


def test_problem_document() -> None:
    """The document has the fields of RFC 9457 and the code, and the path of an invalid field."""
    document = {
        "type": "/docs/reference/errors.html#invalid_json",
        "title": "Bad Request",
        "status": 400,
        "detail": "no",
        "code": "invalid_json",
    }
    assert problem_document(400, "no", code="invalid_json") == document
    assert problem_document(400, "no", "data", "invalid_json") == {**document, "path": "data"}


@given(status=st.sampled_from([each for each in HTTPStatus if each >= 400]))
def test_every_status_has_a_code(status: int) -> None:
    """An error of which only the status is known has a code of the list, too."""
    assert problem_document(status, "no")["code"] in ERROR_CODES
