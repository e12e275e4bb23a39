"""Numbers of every size in every numeric parameter and field: accepted or a 4xx, never a 5xx."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from tests.concurrency import gather_bounded
from tests.described import described_operations, document, resolve
from tests.http.kit import Hub, running_hub
from tests.security.test_fuzz import INTERNAL, PUBLIC

NUMBERS: Final = [
    *("1e308", "-1e308", "1e309", "-1e309", "1e-400", "0", "-0", "-1", "0.5", "9007199254740993"),
    *(
        "2147483648",
        "9223372036854775807",
        "18446744073709551616",
        "1" + "0" * 400,
        "-" + "9" * 400,
    ),
]
ODD: Final = ["nan", "inf", "-inf", "Infinity", "1_0", "0x10", "٣", "1e5", " 1", ""]


def is_numeric(listener: str, schema: dict[str, Any]) -> bool:
    resolved = resolve(listener, schema)
    options = [resolved, *(resolve(listener, each) for each in resolved.get("anyOf", ()))]
    return any(each.get("type") in ("number", "integer") for each in options)


def query_requests(listener: str) -> Iterator[tuple[str, str]]:
    """Yield the method and URL of a request for each number in each numeric parameter."""
    for method, path, operation in described_operations(listener):
        filled = re.sub(r"\{[^}]*\}", "alice", path)
        for parameter in operation["parameters"]:
            if parameter["in"] == "query" and is_numeric(listener, parameter["schema"]):
                for number in [*NUMBERS, *ODD]:
                    query = f"user=alice&{parameter['name']}={number.replace(' ', '%20')}"
                    yield method, f"{filled}?{query}"


def bodies(listener: str, method: str, path: str, body: Any) -> Iterator[str]:
    """Yield the body with each number in each numeric field, and in place of each of its values."""
    route = path.partition("?")[0].replace("/fuzz", "/{user_id}")
    operation = document(listener)["paths"].get(route, {}).get(method.lower(), {})
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    properties = resolve(listener, content.get("schema", {})).get("properties", {})
    fields = [name for name, schema in properties.items() if is_numeric(listener, schema)]
    if not isinstance(body, dict):
        return
    for name in (*fields, *body):
        for number in NUMBERS:
            marked = json.dumps({**body, name: "@number@"})
            yield marked.replace('"@number@"', number)
    for number in NUMBERS:  # inside of free values
        marked = json.dumps({**body, "params": {"temperature": "@number@"}})
        yield marked.replace('"@number@"', number)


async def status_of(
    hub: Hub, method: str, path: str, *, internal: bool, body: str | None = None
) -> int:
    headers = {} if body is None else {"Content-Type": "application/json"}
    more = {"data": body, "headers": headers}
    async with hub.ask(method, path, internal=internal, **more) as response:
        assert response.status < 500, (method, path, body)
        return int(response.status)


@pytest.mark.timeout(240)
async def test_no_number_in_a_query_is_a_500() -> None:
    """Every numeric parameter of every route."""
    with capture_logs() as logs:
        async with running_hub() as hub:
            statuses = await gather_bounded(
                status_of(hub, method, path, internal=listener == "internal")
                for listener in ("public", "internal")
                for method, path in query_requests(listener)
            )
    assert len(statuses) > 100
    assert [each for each in logs if each["event"] == "request.failed"] == []


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_no_number_in_a_body_is_a_500() -> None:
    """Every numeric field of every body, and a number in place of every other field."""
    waiting = (
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/messages",
    )  # they would wait for an answer
    with capture_logs() as logs:
        async with running_hub() as hub:
            requests = []
            for listener, routes in (("public", PUBLIC), ("internal", INTERNAL)):
                internal = listener == "internal"
                for method, path, body in routes:
                    streamed = path.startswith(waiting) and isinstance(body, dict)
                    sent = {**body, "stream": True} if streamed else body
                    requests += [
                        status_of(hub, method, path, internal=internal, body=text)
                        for text in bodies(listener, method, path, sent)
                    ]
            statuses = await gather_bounded(requests)
    assert sum(status >= 400 for status in statuses) > 100
    assert [each for each in logs if each["event"] == "request.failed"] == []
