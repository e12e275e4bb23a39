"""POST /generations/{id}/inputs/{input}: who may answer, what counts, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub.core.channel import user_channel
from hub.core.generation import Status, UpdateKind
from hub.core.inputs import INPUT_EXPIRED
from hub.engine.generations.generation_jobs import GenerationJobs
from hub.ports.events import FROM_START
from hub.testing.contracts.inputs import InputKit, request_of
from hub.testing.contracts.node import Node
from tests.defaults import token_reader
from tests.http.kit import ORIGINS, Hub, running_hub
from tests.http.test_topic_answers import SECRET, token

ALICE, BOB, CAROL = token("alice"), token("bob"), token("carol")
KEY = "k" * 40
SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "integer", "maximum": 40}},
    "required": ["amount"],
}


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A node with tokens."""
    reader = token_reader([FixedKeys([secret_key(SECRET)])])
    keys = ApiKeys([ApiKey("r", hash_key(KEY), frozenset({"read"}))])
    async with running_hub(JwtAuthenticator(reader, AllowedOrigins(ORIGINS)), keys) as hub:
        yield hub


@pytest.fixture
async def kit(hub: Hub) -> InputKit:
    """A generation of alice that runs."""
    kit = InputKit(Node(hub.backend, listens=False))
    await kit.start()
    return kit


async def answer(
    hub: Hub, kit: InputKit, value: Any, user: dict[str, str] = ALICE, key: str = "refund"
) -> tuple[int, Any]:
    path = f"/generations/{kit.id}/inputs/{key}"
    return await hub.call("POST", path, json={"value": value}, headers=user)


async def test_first_value_counts(hub: Hub, kit: InputKit) -> None:
    """The same value again is 200, another one 409 with the value that counts; also after the
    end.
    """
    await kit.ask(request_of(options=["yes", "no"], approvers=["bob"]))
    counted = {"input": "refund", "value": "yes", "by": "bob"}
    assert await answer(hub, kit, "yes", BOB) == (200, counted)
    for _ in range(2):
        assert await answer(hub, kit, "yes") == (200, counted)
        status, problem = await answer(hub, kit, "no")
        assert (status, problem["code"], problem["value"], problem["by"]) == (
            409,
            "input_answered",
            "yes",
            "bob",
        )
        await kit.update(UpdateKind.END, status=Status.DONE, index=1)


async def test_racing_values(hub: Hub, kit: InputKit) -> None:
    """One of the values is taken, and everybody learns which."""
    await kit.ask(request_of())
    replies = await asyncio.gather(*(answer(hub, kit, {"n": n}) for n in range(10)))
    assert sorted(status for status, _ in replies) == [200] + [409] * 9
    assert len({str(reply["value"]) for _, reply in replies}) == 1


async def test_who_may_answer(hub: Hub, kit: InputKit) -> None:
    """Others learn nothing, not even which inputs there are."""
    await kit.ask(request_of(approvers=["bob"]))
    for key in ("refund", "unknown"):
        status, problem = await answer(hub, kit, "yes", CAROL, key)
        assert (status, problem["code"]) == (403, "generation_forbidden")
    status, problem = await answer(hub, kit, "yes", token("alice", scope="hub:stream"))
    assert (status, problem["code"]) == (403, "scope_required")
    assert (await answer(hub, kit, "yes", token("bob", scope="hub:ask")))[0] == 200


async def test_unknown(hub: Hub, kit: InputKit) -> None:
    """A wrong key and a wrong id have codes of their own."""
    status, problem = await answer(hub, kit, "yes")
    assert (status, problem["code"]) == (404, "input_unknown")
    kit.id = kit.id[:-1] + ("0" if kit.id[-1] != "0" else "1")
    status, problem = await answer(hub, kit, "yes")
    assert (status, problem["code"]) == (404, "generation_not_found")


async def test_too_late(hub: Hub, kit: InputKit) -> None:
    """A value that comes too late lets the input expire; after the end it is refused as well."""
    await kit.ask(request_of(seconds=-1))
    await kit.ask(request_of("other"))
    for _ in range(2):
        status, problem = await answer(hub, kit, "yes")
        assert (status, problem["code"]) == (409, "input_expired")
    assert await kit.states() == [("refund", "expired"), ("other", "waiting")]
    await kit.update(UpdateKind.END, status=Status.DONE, index=2)
    status, problem = await answer(hub, kit, "yes", key="other")
    assert (status, problem["code"], problem["generation"]) == (409, "ended", kit.id)


@pytest.mark.parametrize(
    ("request_fields", "value", "path", "detail"),
    [
        ({"options": ["a", "b"]}, "c", "value", "one of a, b"),
        ({"options": ["a"]}, None, "value", "one of a"),
        ({"options": ["a"]}, ["a"], "value", "one of a"),
        ({"schema": SCHEMA}, 1, "value", 'not of type "object"'),
        ({"schema": SCHEMA}, {}, "value", '"amount" is a required property'),
        ({"schema": SCHEMA}, {"amount": 41}, "value.amount", "greater than the maximum"),
        ({"schema": {"$ref": "#/$defs/a"}}, 1, "value", "wrong schema"),
        ({"schema": False}, 1, "value", "False schema"),
    ],
)
async def test_value_that_is_not_asked_for(
    hub: Hub, kit: InputKit, request_fields: dict[str, Any], value: Any, path: str, detail: str
) -> None:
    """It is refused with the place and the rule, and another one may follow."""
    await kit.ask(request_of(**request_fields))
    status, problem = await answer(hub, kit, value)
    assert (status, problem["code"], problem["path"]) == (400, "input_invalid", path)
    assert detail in problem["detail"]
    assert await kit.states() == [("refund", "waiting")]


async def test_value_that_matches(hub: Hub, kit: InputKit) -> None:
    """Any JSON may be a value. Keys are percent-encoded in the path."""
    await kit.ask(request_of("a/b \u00e9", schema=SCHEMA))
    status, reply = await answer(hub, kit, {"amount": 40}, key="a%2Fb%20%C3%A9")
    assert (status, reply["input"], reply["value"]) == (200, "a/b \u00e9", {"amount": 40})
    await kit.ask(request_of("null"))
    assert (await answer(hub, kit, None, key="null"))[0] == 200
    path = f"/generations/{kit.id}/inputs/null"
    assert (await hub.call("POST", path, json={}, headers=ALICE))[0] == 400


async def test_snapshot(hub: Hub, kit: InputKit) -> None:
    """Readers see what is asked; the internal API also shows the approvers and who answered."""
    await kit.ask(request_of(approvers=["bob"]))
    status, snapshot = await hub.call("GET", f"/generations/{kit.id}", headers=ALICE)
    assert (status, snapshot["status"], snapshot["parts"][0]["state"]) == (
        200,
        "waiting",
        "waiting",
    )
    assert "bob" not in str(snapshot)
    assert (await answer(hub, kit, 1, BOB))[0] == 200
    authorization = {"Authorization": f"Bearer {KEY}"}
    _, whole = await hub.call("GET", f"/generations/{kit.id}", internal=True, headers=authorization)
    (kept,) = whole["inputs"]
    assert (kept["state"], kept["approvers"], kept["by"]) == ("received", ["bob"], "bob")
    assert len(kept["digest"]) == 16
    assert kept["at"] > 1.6e9


async def test_end_whose_worker_was_lost(hub: Hub, kit: InputKit) -> None:
    """The worker that finds the job of an ended answer tells its approvers, once."""
    await kit.ask(request_of(approvers=["bob"]))
    await kit.update(UpdateKind.END, status=Status.DONE, index=1)
    jobs = GenerationJobs(hub.backend.events, hub.backend.generations, hub.backend.queue)
    for _ in range(2):
        await jobs.check_released(kit.id, was_suspended=True)
    page = await hub.backend.events.read(
        {user_channel("bob"): FROM_START}, max_events=9, max_bytes=9999
    )
    assert [event.name for event in page[user_channel("bob")].events] == [INPUT_EXPIRED]


def approval(id_: str, value: Any) -> dict[str, Any]:
    """Return a request of the AI SDK whose last message decides an input."""
    part = {"type": "dynamic-tool", "toolName": "request_input", "toolCallId": id_}
    part |= {"state": "output-available", "output": value}
    return {"messages": [{"role": "assistant", "parts": [part]}]}


def resume(id_: str, value: Any) -> dict[str, Any]:
    """Return a request of AG-UI that resumes an interrupt. value: None cancels it."""
    fields = {"status": "cancelled"} if value is None else {"payload": value}
    messages = [{"role": "user", "content": "hi"}]
    run = {"threadId": "t", "runId": "r", "messages": messages}
    return {**run, "resume": [{"interruptId": id_, **fields}]}


@pytest.mark.parametrize(
    ("path", "build"), [("ui/chat", approval), ("agui", resume)], ids=["ai-sdk", "ag-ui"]
)
async def test_decisions_of_other_clients(
    hub: Hub, kit: InputKit, path: str, build: Callable[[str, Any], dict[str, Any]]
) -> None:
    """What is not asked, is another user's or is answered already starts and stops nothing."""
    await kit.ask(request_of("a/b"))
    await kit.ask(request_of("c"))
    assert (await answer(hub, kit, "yes", key="a%2Fb"))[0] == 200
    for key, value, user, status, code in (
        ("a", "yes", ALICE, 404, "input_unknown"),
        ("a/b/", "yes", ALICE, 404, "input_unknown"),
        ("a%2Fb", None, ALICE, 404, "input_unknown"),
        ("k" * 256, None, ALICE, 404, "input_unknown"),
        ("c", "yes", BOB, 403, "generation_forbidden"),
        ("c", None, BOB, 403, "generation_forbidden"),
        ("a/b", "no", ALICE, 409, "input_answered"),
        ("a/b", None, ALICE, 409, "input_answered"),
    ):
        body = build(f"{kit.id}/{key}", value)
        got, problem = await hub.call("POST", f"/v1/{path}", json=body, headers=user)
        assert (got, problem["error"]["code"]) == (status, code), key
    status, listed = await hub.call("GET", "/generations", headers=ALICE)
    assert (status, [each["generation"] for each in listed["generations"]]) == (200, [kit.id])
    assert await kit.status() is Status.WAITING
