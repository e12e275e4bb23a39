"""What real LLM servers send, and what every API of the hub makes of it.

tests/upstreams/cases/cases.json has the bytes of each case and what clients must see. A case is
asked by the hub's own API, by chat completions and by Responses, as a stream and whole.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.cluster import Cluster, create_cluster
from tests.upstreams.cases import answers
from tests.upstreams.cases.answers import Answer, compare
from tests.upstreams.cases.server import Case, CaseServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASES: Final[list[Case]] = json.loads(
    (Path(__file__).parents[1] / "upstreams" / "cases" / "cases.json").read_text()
)
_UPSTREAMS: Final = {"openai": "oa", "anthropic": "an", "ollama": "ol", "openai-responses": "re"}
_TIMEOUT_SECONDS: Final = 60.0
SERVER: Final = CaseServer(CASES)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """Run a node, a worker, and the LLM of the cases in four wire formats."""
    async with create_cluster() as cluster, SERVER.listen() as url:
        for kind, name in _UPSTREAMS.items():
            cluster.set(f"UPSTREAMS__{name}__KIND", kind)
            cluster.set(f"UPSTREAMS__{name}__BASE_URL", f"{url}/{kind}")
            cluster.set(f"UPSTREAMS__{name}__RETRIES", 1)
            cluster.set(f"UPSTREAMS__{name}__CIRCUIT_FAILURE_THRESHOLD", 1_000_000)
        cluster.set("GENERATIONS__MAX_RUNNING_PER_USER", 50)
        await cluster.start()
        await cluster.start_ready_worker()
        yield cluster


async def _post(
    cluster: Cluster, path: str, case: Case, body: Mapping[str, Any]
) -> tuple[int, str]:
    """Return the status and the body of the response, also of one that is cut: a failed stream.

    The user is the case, so that streams do not mix.
    """
    url = f"{cluster.url}{path}?user={case['id'].replace('_', '-')}"
    received = b""
    async with cluster.session.post(url, json=body) as response:
        with suppress(aiohttp.ClientPayloadError):
            async for chunk in response.content.iter_any():
                received += chunk
    return response.status, received.decode()


def _model(case: Case) -> str:
    return f"{_UPSTREAMS[case['kind']]}/{case['id']}"


def _fields(case: Case) -> dict[str, Any]:
    """Return the fields of the case's request."""
    return {name: value for name, value in case.get("request", {}).items() if name != "surface"}


async def _hub_events(cluster: Cluster, case: Case) -> Answer:
    fields = _fields(case)
    messages = fields.pop("messages", [{"role": "user", "content": "hi"}])
    body = {"messages": messages, "model": case["id"], "upstream": _UPSTREAMS[case["kind"]]}
    user = case["id"].replace("_", "-")
    _, text = await _post(
        cluster, "/generations", case, {**body, **({"params": fields} if fields else {})}
    )
    started = json.loads(text)
    url = f"{cluster.url}/generations/{started['generation']}?user={user}"
    headers = {"Accept": "text/event-stream", "Last-Event-ID": started["cursor"]}
    async with cluster.session.get(url, headers=headers) as response:
        return answers.read_hub_events(await response.text())


def _chat(stream: bool) -> Callable[[Cluster, Case], Awaitable[Answer]]:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}

    async def ask(cluster: Cluster, case: Case) -> Answer:
        messages = [{"role": "user", "content": "hi"}]
        body = {"messages": messages, "model": _model(case), **options, **_fields(case)}
        status, text = await _post(cluster, "/v1/chat/completions", case, body)
        is_stream = stream and status == 200
        return (answers.read_chat_chunks if is_stream else answers.read_chat_completion)(text)

    return ask


def _responses(stream: bool) -> Callable[[Cluster, Case], Awaitable[Answer]]:
    async def ask(cluster: Cluster, case: Case) -> Answer:
        body = {"input": "hi", "model": _model(case), "stream": stream, **_fields(case)}
        status, text = await _post(cluster, "/v1/responses", case, body)
        is_stream = stream and status == 200
        return (answers.read_response_events if is_stream else answers.read_response)(text)

    return ask


_APIS: Final[Mapping[str, Callable[[Cluster, Case], Awaitable[Answer]]]] = {
    "events": _hub_events,
    "chat, streamed": _chat(True),
    "chat, whole": _chat(False),
    "responses, streamed": _responses(True),
    "responses, whole": _responses(False),
}

# The worker reads the deltas; an API gets few large ones of them. Each repeats the reading.
_APIS_OF_LONG: Final = ["events", "chat, whole", "responses, streamed"]


def _apis_of(case: Case) -> list[str]:
    if _is_long(case):
        return _APIS_OF_LONG
    request = case.get("request", {})
    if request.get("surface") == "responses":
        return [name for name in _APIS if name.startswith("responses")]
    return [name for name in _APIS if "messages" not in request or "responses" not in name]


def _is_long(case: Case) -> bool:
    """Return whether the upstream sends tens of thousands of deltas."""
    response = case["upstream_response"]
    chunks = [] if isinstance(response, list) else response["chunks"]
    return any(chunk.get("times", 0) > 10_000 for chunk in chunks if not isinstance(chunk, str))


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
async def test_case(cluster: Cluster, case: Case) -> None:
    """Every API shows the answer, or the failure, that the case expects."""

    async def ask(name: str) -> list[str]:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            answer = await _APIS[name](cluster, case)
        is_stream = name in ("events", "chat, streamed")
        differences = compare(answer, case["expect"], is_stream=is_stream)
        return [f"{name}: {each}" for each in differences]

    if isinstance(case["upstream_response"], list):  # the responses have an order
        differences = []
        for name in _apis_of(case):
            SERVER.reset(case["id"])
            differences += await ask(name)
    else:
        differences = [
            each for some in await asyncio.gather(*map(ask, _apis_of(case))) for each in some
        ]
    assert differences == []
