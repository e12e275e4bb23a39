"""Requests that schemathesis generates from the OpenAPI documents, and checks of their responses.

Only the test that needs it imports this module: schemathesis takes long to import.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from hub.wiring.route_table import build_openapi

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
    """Sends generated requests and checks the responses.

    ports: by the name of the listener. generation: one of the user. examples: the number of
    requests of each kind per operation.
    """

    def __init__(self, ports: dict[str, int], generation: str, examples: int) -> None:
        self._ports = ports
        self._examples = examples
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
            max_examples=self._examples,
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
            sent = self._session.request(**arguments, timeout=1 if waiting else 60, stream=True)
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
