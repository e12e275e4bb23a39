"""F8 for the described routes: requests that schemathesis makes from the document, good and bad.

`FUZZ_EXAMPLES` says how many of each kind every operation gets. Left out: what a stream says
after its first bytes (see tests/http/test_system_events.py), a WebSocket's upgrade (each such
request is refused with 426), and the worker's three probes, which take nothing. What breaks the
protocol itself is in test_fuzz.py.
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

MENDED: Final[dict[str, Any]] = {
    "/publish": {"to": {"user": USER}},
    "/v1/chat/completions": {"stream": True, "n": 1},
    "/v1/responses": {"stream": True},
    "/generations": {"prompt": "hi", "messages": None, "upstream": None, "model": None},
}
WAITING: Final = ("/v1/chat/completions", "/v1/responses")  # for an answer that nobody gives
LENIENT: Final = ("/publish/batch",)  # an item is refused by itself; a WebSocket before it is read


@pytest.fixture
async def plant() -> AsyncIterator[Cluster]:
    """A node without tokens, so that nothing is refused before it is looked at, and with an
    upstream that nobody asks: there is no worker. A process of its own: while hypothesis makes
    requests, nothing else here may use the module random.
    """
    async with create_cluster() as plant:
        plant.set("PUBLIC__DEMO_PAGE", "true")
        plant.set("UPSTREAMS__SIM__BASE_URL", "http://127.0.0.1:9/v1")
        plant.set("UPSTREAMS__SIM__DEFAULT_MODEL", "m")
        await plant.start()
        yield plant


def takes_anything(operation: Any) -> bool:
    """Whether a request could be wrong: it has a body, or a parameter that is not any string."""
    parameters = [*operation.path_parameters, *operation.query, *operation.headers]
    shapes = [each.definition["schema"] for each in parameters]
    return bool(operation.body) or any(shape != {"type": "string"} for shape in shapes)


def without_security(described: dict[str, Any]) -> dict[str, Any]:
    """As an open node is: else a nonsense token in a header would count as what must be refused."""
    del described["components"]["securitySchemes"]
    for operations in described["paths"].values():
        for operation in operations.values():
            operation["security"] = []
    return described


class Asker:
    """Sends what schemathesis makes, and checks what comes back."""

    def __init__(self, ports: dict[str, int], generation: str) -> None:
        self._ports = ports
        self._generation = generation
        self._session = requests.Session()
        self.statuses: Counter[int] = Counter()
        self.asked: set[tuple[str, str]] = set()

    def ask_all(self) -> None:
        """Every operation of the node's two listeners, in both modes."""
        with self._session:
            for listener, mode, operation in self._operations():
                self._ask(operation, mode, f"http://127.0.0.1:{self._ports[listener]}")
                self.asked.add((operation.method.upper(), operation.path))

    def _operations(self) -> Iterator[tuple[str, GenerationMode, Any]]:
        schema = schemathesis.openapi.from_dict(without_security(build_openapi()))
        for listener in self._ports:
            for found in schema.include(tag=listener).get_all_operations():
                operation: Any = found.ok()  # type: ignore[union-attr]  # or it raises
                yield listener, GenerationMode.POSITIVE, operation
                if takes_anything(operation):
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
        """A good request names one user, what there is, and does not wait. What the schemas cannot
        say is mended: a publish is to one recipient, a question is asked in one way.
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
            case.body.update(MENDED.get(path, {}))

    def _send(self, case: Case, url: str) -> None:
        told = case.as_transport_kwargs(base_url=url)
        waiting = case.operation.path in WAITING
        try:
            sent = self._session.request(**told, timeout=1 if waiting else 10, stream=True)
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
                return  # its end is not waited for
            checked = [*CHECKS]
            if case.operation.path in LENIENT or case.path.startswith("/ws/"):
                checked.remove(checks.negative_data_rejection)
            case.validate_response(response, checks=checked)


def open_files(pid: int) -> int:
    """How many files and sockets a process holds."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * EXAMPLES)
async def test_described_routes_keep_their_word(plant: Cluster) -> None:
    """Statuses, content types, headers and bodies are as described, nothing is a 5xx, what breaks
    the description is refused, and afterwards nothing is left open.
    """
    _, started = await plant.start_generation(USER, "hi", "sim")
    ports = {"public": plant.port, "internal": plant.internal_port}
    asker = Asker(ports, started["generation"])
    before, before_mb = open_files(plant.node.pid), resident_mb(plant.node.pid)
    await asyncio.to_thread(asker.ask_all)
    print(f"{asker.statuses.total()} requests: {dict(asker.statuses)}")
    told = build_openapi()["paths"].items()
    served = {
        (method.upper(), path)
        for path, operations in told
        for method, operation in operations.items()
        if set(ports) & {*operation["tags"]}
    }
    assert asker.asked == served
    assert asker.statuses[200] > EXAMPLES
    assert asker.statuses[400] > EXAMPLES
    assert "request.failed" not in plant.log("serve")
    async with asyncio.timeout(20):
        while open_files(plant.node.pid) > before:
            await asyncio.sleep(0.1)
    assert resident_mb(plant.node.pid) - before_mb < 40
    async with plant.session.get(f"{plant.internal_url}/readyz") as answer:
        assert (await answer.json())["connections"] == 0
