"""The description of the routes that start an answer, which is the same in every dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hub.http.parameters import HEARTBEAT, IDEMPOTENCY_KEY, LOCATED, OPEN_USER
from hub.http.routing import USER, Operation, Parameter, ResponseSpec, json_body


def answer_operation(
    path: str,
    summary: str,
    body: Any,
    description: str,
    *,
    operation_id: str,
    is_always_stream: bool = False,
    parameters: Sequence[Parameter] = (),
) -> Operation:
    """Return the operation of a POST that starts a generation and sends its answer.

    body: the type of the JSON body. description: that of the response. operation_id: see `id` in
    Operation. is_always_stream: whether the answer is never one JSON document, which also means
    that a failure has no status of its own.
    parameters: further ones.
    """
    document = {} if is_always_stream else {"application/json": dict[str, Any]}
    return Operation(
        id=operation_id,
        method="POST",
        paths=[path],
        tag="v1",
        summary=summary,
        security=USER,
        parameters=[OPEN_USER, IDEMPOTENCY_KEY, HEARTBEAT, *parameters],
        body=json_body(body),
        responses=[
            ResponseSpec(
                status=200,
                description=description,
                content={**document, "text/event-stream": None},
                headers=LOCATED,
            )
        ],
        refuses=[404, 409, 429] if is_always_stream else [404, 409, 422, 429, 502, 504],
        long_lived=True,
    )
