"""Tasks of agents: each part is yielded once, also if the task is read anew by another worker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.durable import Checkpoint
from hub.core.folded_parts import FoldedParts
from hub.core.part_events import to_event
from hub.core.parts import Data, File, Part, Reasoning, Replace, Status, Text
from hub.core.sse_decoder import ServerSentEvent
from hub.upstreams.a2a.answer import restore
from hub.upstreams.a2a.reader import CallReader
from hub.upstreams.a2a.task import NOTHING_SHOWN, SEPARATOR, TaskProgress

CONTEXT = {"contextId": "c"}


def read(progress: TaskProgress, *events: Any) -> list[Part]:
    """Return the parts of events, without the ones that readers do not see."""
    reader = CallReader(progress, is_stream=True)
    parts: list[Part] = []
    for event in events:
        parts += reader.read(ServerSentEvent("message", json.dumps(event), ""))
    return [part for part in parts if part != NOTHING_SHOWN]


def artifact(
    key: str, *parts: Any, append: bool = False, name: str | None = None
) -> dict[str, Any]:
    named = {} if name is None else {"name": name}
    artifact = {"artifactId": key, "parts": [*parts], **named}
    return {"artifactUpdate": {"taskId": "t", **CONTEXT, "artifact": artifact, "append": append}}


def status(state: str, text: str | None = None, message_id: str = "m1") -> dict[str, Any]:
    message = {} if text is None else {"message": {"messageId": message_id, "parts": [T(text)]}}
    return {"statusUpdate": {"taskId": "t", **CONTEXT, "status": {"state": state, **message}}}


def T(text: str) -> dict[str, Any]:  # noqa: N802 - short, because events are full of it
    return {"text": text}


class Agent:
    """What an agent that follows the specification keeps of its task."""

    def __init__(self) -> None:
        self.artifacts: dict[str, list[Any]] = {}

    def apply(self, event: dict[str, Any]) -> None:
        update = event["artifactUpdate"]
        key, parts = update["artifact"]["artifactId"], update["artifact"]["parts"]
        if update["append"] and key in self.artifacts:
            self.artifacts[key] = [*self.artifacts[key], *parts]
        else:
            self.artifacts[key] = [*parts]

    def snapshot(self) -> dict[str, Any]:
        artifacts = [{"artifactId": key, "parts": each} for key, each in self.artifacts.items()]
        working = {"state": "TASK_STATE_WORKING"}
        return {"task": {"id": "t", **CONTEXT, "status": working, "artifacts": artifacts}}

    def text(self, key: str) -> str:
        return "".join(part.get("text", "") for part in self.artifacts.get(key, ()))

    def data(self) -> list[Any]:
        parts = [part for parts in self.artifacts.values() for part in parts]
        return [part["data"] for part in parts if "data" in part]


def fold(parts: Sequence[Part]) -> FoldedParts:
    folded = FoldedParts()
    for part in parts:
        folded.apply(*to_event(part))
    return folded


PARTS = st.one_of(st.text(max_size=4).map(T), st.integers(0, 3).map(lambda n: {"data": {"n": n}}))
UPDATES = st.tuples(st.sampled_from("ab"), st.lists(PARTS, max_size=3), st.booleans())


@given(
    updates=st.lists(UPDATES, max_size=10),
    breaks=st.dictionaries(st.integers(0, 9), st.tuples(st.integers(0, 3), st.booleans())),
)
def test_a_task_that_is_read_anew_adds_only_what_is_new(
    updates: list[tuple[str, list[Any], bool]], breaks: dict[int, tuple[int, bool]]
) -> None:
    """Events that were missed come with the snapshot; another worker continues from what was saved.

    Each break misses some events, and then either the same worker or another one reads the task.
    """
    agent, progress = Agent(), TaskProgress()
    parts: list[Part] = []
    missed = 0
    for n, (key, chunks, is_more) in enumerate(updates):
        event = artifact(key, *chunks, append=is_more and key in agent.artifacts)
        agent.apply(event)
        count, is_other = breaks.get(n, (0, False))
        missed = max(missed, count)
        if missed:
            missed -= 1
            if missed == 0:
                progress = restart(progress, parts) if is_other else progress
                parts += read(progress, agent.snapshot())
        else:
            parts += read(progress, event)
    parts += read(progress, agent.snapshot())

    folded = fold(parts)
    assert folded.text == progress.text
    text_of_artifacts = folded.text.replace(SEPARATOR, "")
    expected = agent.text("a") + agent.text("b")
    assert sorted(text_of_artifacts) == sorted(expected.replace(SEPARATOR, ""))
    if len({key for key, _, _ in updates}) == 1:
        assert folded.text == expected
    last_values = [part["value"] for part in folded.parts if part["type"] == "data"]
    assert all(value in last_values for value in agent.data())
    assert read(progress, agent.snapshot()) == []


def restart(progress: TaskProgress, parts: list[Part]) -> TaskProgress:
    """Return the progress of another worker."""
    value = msgspec.json.encode(progress.save())
    restored, keeps_parts = restore(Checkpoint(value=value, folded=fold(parts).parts))
    if not keeps_parts:  # the task was not known yet
        parts.clear()
    return restored


def test_artifacts_are_separated_and_may_take_the_place_of_earlier_ones() -> None:
    """An empty line is between artifacts; a whole one that differs rewrites the text."""
    progress = TaskProgress()
    parts = read(
        progress,
        artifact("a", T("one")),
        artifact("a", T(" two"), append=True),
        artifact("b", T("three")),
        artifact("b", T("three four")),
        artifact("a", T("ONE")),
    )
    assert parts == [
        Text("one"),
        Text(" two"),
        Text(SEPARATOR),
        Text("three"),
        Text(" four"),
        Replace("ONE\n\nthree four"),
    ]


def test_a_task_with_many_parts_is_saved_without_them() -> None:
    """Another worker reads such a task anew, so that saving costs the same for each part."""
    progress = TaskProgress()
    parts = read(progress, *(artifact(f"a{n % 300}", T("x"), append=n >= 300) for n in range(400)))
    saved = progress.save()
    assert (saved.task, saved.texts, saved.is_partial) == ("t", [], True)
    value = msgspec.json.encode(saved)
    restored, keeps_parts = restore(Checkpoint(value=value, folded=fold(parts).parts))
    assert (restored.task, restored.text, keeps_parts) == ("t", "", False)


STATES = (
    "submitted",
    "working",
    "failed",
    "rejected",
    "canceled",
    "auth-required",
    "input-required",
)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("is_new", [True, False])
def test_messages_beside_a_state(state: str, is_new: bool) -> None:
    """They are a status while the agent works, and the reason of a failure at the end."""
    written = "TASK_STATE_" + state.replace("-", "_").upper() if is_new else state
    progress = TaskProgress()
    parts = read(progress, status(written, "Hm"), status(written, "Hm"))
    works = state in ("submitted", "working")
    assert parts == ([Status("Hm")] if works else [])
    assert (progress.state, progress.words) == (state, "" if works else "Hm")
    assert progress.is_settled is not works


def test_a_last_message_is_text() -> None:
    """It is not repeated if an artifact has it already."""
    assert read(TaskProgress(), status("completed", "Blue.")) == [Text("Blue.")]
    events = artifact("a", T("It is done.")), status("completed", "It is done.")
    assert read(TaskProgress(), *events) == [Text("It is done.")]


def test_parts_of_both_versions() -> None:
    """Texts, files and data have different forms in 1.0 and in 0.3."""
    new = [
        T("hi"),
        {"data": {"a": 1}},
        {"data": None},
        {"url": "https://x/y", "mediaType": "a/b", "filename": "f"},
        {"raw": "YQ=="},
        {"text": "hm", "metadata": {"adk_thought": True}},
        {"unknown": 1},
    ]
    old = [
        {"kind": "text", "text": "hi"},
        {"kind": "data", "data": {"a": 1}},
        {"kind": "data", "data": None},
        {"kind": "file", "file": {"uri": "https://x/y", "mimeType": "a/b", "name": "f"}},
        {"kind": "file", "file": {"bytes": "YQ=="}},
        {"kind": "text", "text": "hm", "metadata": {"adk_thought": True}},
        {"kind": "unknown"},
    ]
    for parts in (new, old):
        assert read(TaskProgress(), artifact("a", *parts, name="report")) == [
            Text("hi"),
            Data("report", {"a": 1}, id="a"),
            Data("report", None, id="a/1"),
            File(url="https://x/y", media_type="a/b", name="f"),
            File(data="YQ==", media_type="application/octet-stream"),
            Reasoning("hm"),
        ]


def test_objects_of_0_3_name_their_kind() -> None:
    """They have no object around them; a message is a whole answer."""
    progress = TaskProgress()
    task = {"kind": "task", "id": "t", **CONTEXT, "status": {"state": "submitted"}}
    update = {
        "kind": "status-update",
        "taskId": "t",
        "status": {"state": "completed"},
        "final": True,
    }
    chunk = {
        "kind": "artifact-update",
        "taskId": "t",
        "artifact": {"artifactId": "a", "parts": [T("x")]},
    }
    assert read(
        progress, *({"jsonrpc": "2.0", "result": each} for each in (task, chunk, update))
    ) == [Text("x")]
    assert (progress.task, progress.context, progress.state) == ("t", "c", "completed")
    progress = TaskProgress()
    message = {
        "kind": "message",
        "role": "agent",
        "messageId": "m",
        **CONTEXT,
        "parts": [T("Hello")],
    }
    assert read(progress, {"result": message}) == [Text("Hello")]
    assert progress.is_answered
    assert progress.is_settled
