"""Clients of the AI SDK and of AG-UI answer what a function asks, as their own examples do."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.conftest import missing
from tests.interop.programs import JS
from tests.interop.running_hub import RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def run(program: str, hub: RunningHub, *arguments: str) -> Any:
    """Return what a program prints."""
    node = shutil.which("node")
    if node is None or not (JS / "node_modules").exists():
        missing("node with the packages of tests/interop/js")
    command = [node, str(JS / program), hub.url, hub.token(hub.user()), *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("package", ["ai", "ai6"])
async def test_approval_of_the_ai_sdk(hub: RunningHub, package: str) -> None:
    """Each input ends the stream, and its answer continues the same message."""
    seen_by_decision = await run("approvals.mjs", hub, package)
    assert [*seen_by_decision] == ["approve", "deny"]
    for decision, seen in seen_by_decision.items():
        assert seen["requests"] == 3
        assert seen["pauses"][:2] == [
            ["tool-refund", "approval-requested", "waiting"],
            ["dynamic-tool", "input-available", "waiting"],
        ]
        (answer,) = seen["answers"]
        parts = [part for part in answer["parts"] if part["type"] != "step-start"]
        assert [part["type"] for part in parts] == ["tool-refund", "dynamic-tool", "text"]
        state = "output-available" if decision == "approve" else "output-denied"
        assert parts[0]["state"] == state
        assert parts[0]["approval"]["approved"] is (decision == "approve")
        assert parts[1]["input"] == {
            "input": "note",
            "prompt": "A note?",
            "schema": {"type": "string"},
            "expires_at": parts[1]["input"]["expires_at"],
        }
        assert parts[2]["text"] == f"{decision}, Thanks!"
        assert answer["metadata"]["status"] == "done"


async def test_interrupts_of_ag_ui(hub: RunningHub) -> None:
    """Each input is an interrupt, and a run that resumes it streams what follows."""
    first_answers = [
        {"status": "resolved", "payload": {"approved": True}},
        {"status": "resolved", "payload": "deny"},
        {"status": "cancelled", "payload": None},
    ]
    seen_by_answer = await run("interrupts.mjs", hub, json.dumps(first_answers))
    for decision, seen in zip(("approve", "deny", "deny"), seen_by_answer, strict=True):
        approval, note = seen["requested"]
        assert (approval["reason"], approval["message"]) == ("tool_call", "Refund 40 €?")
        assert approval["toolCallId"] == "refund"
        assert approval["responseSchema"] == {"enum": ["approve", "deny"]}
        assert (note["reason"], note["responseSchema"]) == ("input_required", {"type": "string"})
        texts = [each["content"] for each in seen["messages"] if each.get("content")]
        results = ['{"refunded":40}'] if decision == "approve" else []
        assert texts == ["refund?", *results, f"{decision}, Thanks!"]
