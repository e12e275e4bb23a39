"""Requests that schemathesis generates from the OpenAPI documents, valid and invalid.

`FUZZ_EXAMPLES` is the number of requests of each kind per operation. Not covered: the content of a
stream (see tests/http/test_system_events.py), a WebSocket's upgrade (each such request is refused
with 426), and the probes of a worker, which have no parameters. test_fuzz.py breaks the protocol
itself.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from hub.wiring.route_table import build_openapi
from tests.described import described_operations
from tests.e2e.cluster import Cluster, create_cluster
from tests.security.test_fuzz import resident_mb

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "4"))
USER: Final = "fuzz"
STREAMS: Final = ("text/event-stream", "application/x-ndjson")
CHECKS: Final = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]

_ANSWER: Final = {"prompt": "hi", "messages": None, "upstream": None, "model": None}
OVERRIDES: Final[dict[str, Any]] = {
    "/publish": {"to": {"user": USER}},
    "/v1/chat/completions": {"stream": True, "n": 1},
    "/v1/responses": {"stream": True},
    "/generations": _ANSWER,
    "/generations/stream": _ANSWER,
}
WAITING: Final = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/responses/compact",
)  # they wait for an answer that no worker gives
LENIENT: Final = ("/publish/batch",)  # an invalid item gets its own problem document


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A node without authentication, so that requests reach the handlers, with an upstream but no
    worker. It runs in its own process: while hypothesis generates requests, nothing else in this
    process may use the module random.
    """
    async with create_cluster() as cluster:
        cluster.set("PUBLIC__DEMO_PAGE", "true")
        cluster.set("UPSTREAMS__SIM__BASE_URL", "http://127.0.0.1:9/v1")
        cluster.set("UPSTREAMS__SIM__DEFAULT_MODEL", "m")
        await cluster.start()
        yield cluster


def can_be_invalid(operation: Any) -> bool:
    """Return whether a request to the operation can be invalid."""
    parameters = [*operation.path_parameters, *operation.query, *operation.headers]
    schemas = [each.definition["schema"] for each in parameters]
    return bool(operation.body) or any(schema != {"type": "string"} for schema in schemas)


def without_security(described: dict[str, Any]) -> dict[str, Any]:
    """Remove the security of a node without authentication: it ignores invalid tokens."""
    del described["components"]["securitySchemes"]
    for operations in described["paths"].values():
        for operation in operations.values():
            operation["security"] = []
    return described


class ResponseChecker:
    """Sends generated requests and checks the responses."""

    def __init__(self, ports: dict[str, int], generation: str) -> None:
        self._ports = ports
        self._generation = generation
        self._session = requests.Session()
        self.statuses: Counter[int] = Counter()
        self.requested: set[tuple[str, str]] = set()

    def ask_all(self) -> None:
        """Send requests to every operation of both listeners, valid and invalid."""
        with self._session:
            for listener, mode, operation in self._operations():
                self._ask(operation, mode, f"http://127.0.0.1:{self._ports[listener]}")
                self.requested.add((operation.method.upper(), operation.path))

    def _operations(self) -> Iterator[tuple[str, GenerationMode, Any]]:
        for listener in self._ports:
            schema = schemathesis.openapi.from_dict(without_security(build_openapi(listener)))
            for result in schema.get_all_operations():
                operation: Any = result.ok()  # type: ignore[union-attr]  # or it raises
                yield listener, GenerationMode.POSITIVE, operation
                if can_be_invalid(operation):
                    yield listener, GenerationMode.NEGATIVE, operation

    def _ask(self, operation: Any, mode: GenerationMode, url: str) -> None:
        @seed(20261121)
        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Case) -> None:
            if mode is GenerationMode.POSITIVE:
                self._lead_somewhere(case)
            self._send(case, url)

        send()

    def _lead_somewhere(self, case: Case) -> None:
        """Make a valid request useful: one user, existing resources, no waiting.

        It also applies rules that the schemas cannot express: a publish has one recipient, and a
        generation has either a prompt or messages.
        """
        path = case.operation.path
        if "{id}" in path:
            prefix = "resp_" if path.startswith("/v1/responses/") else ""
            case.path_parameters["id"] = prefix + self._generation
        if any(each.name == "user" for each in case.operation.query):
            case.query["user"] = USER
        if path.startswith("/poll/"):
            case.query["wait"] = 0
        if isinstance(case.body, dict):
            case.body.update(OVERRIDES.get(path, {}))

    def _send(self, case: Case, url: str) -> None:
        arguments = case.as_transport_kwargs(base_url=url)
        waiting = case.operation.path in WAITING
        try:
            sent = self._session.request(**arguments, timeout=1 if waiting else 10, stream=True)
        except requests.ReadTimeout:
            self.statuses[0] += 1
            assert waiting
            return
        with sent as response:
            self.statuses[response.status_code] += 1
            kind = response.headers.get("Content-Type", "").partition(";")[0]
            endless = kind in STREAMS and "batch" not in case.path
            waits = case.path.startswith("/poll/") and case.query.get("wait") != 0
            if response.status_code == 200 and (endless or waits):
                return  # the test does not wait for its end
            checked = [*CHECKS]
            if case.operation.path in LENIENT or case.path.startswith("/ws/"):
                checked.remove(checks.negative_data_rejection)
            case.validate_response(response, checks=checked)


def open_files(pid: int) -> int:
    """Return the number of open files and sockets of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * EXAMPLES)
async def test_described_routes_keep_their_word(cluster: Cluster) -> None:
    """Responses are as described, none is a 5xx, invalid requests are refused, no file leaks."""
    _, started = await cluster.start_generation(USER, "hi", "sim")
    ports = {"public": cluster.port, "internal": cluster.internal_port}
    checker = ResponseChecker(ports, started["generation"])
    before, before_mb = open_files(cluster.node.pid), resident_mb(cluster.node.pid)
    await asyncio.to_thread(checker.ask_all)
    print(f"{checker.statuses.total()} requests: {dict(checker.statuses)}")
    served = {(method, path) for name in ports for method, path, _ in described_operations(name)}
    assert checker.requested == served
    assert checker.statuses[200] > EXAMPLES
    assert checker.statuses[400] > EXAMPLES
    assert "request.failed" not in cluster.log("serve")
    async with asyncio.timeout(20):
        while open_files(cluster.node.pid) > before:
            await asyncio.sleep(0.1)
    assert resident_mb(cluster.node.pid) - before_mb < 40
    async with cluster.session.get(f"{cluster.internal_url}/readyz") as answer:
        assert (await answer.json())["connections"] == 0
