"""hub.js folds the parts of an answer as the hub does."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.core.generation import Generation
from tests.conftest import missing
from tests.engine.test_attempt_events import ENDS, Attempt, fold
from tests.engine.test_durable import STEPS, Answer, build_answer
from tests.parts import PARTS

MODULE = Path(__file__).parents[2] / "hub" / "http" / "pages" / "hub.js"
SCRIPT = f"""
import {{ FoldedParts, Transcript }} from "{MODULE.as_uri()}";
import {{ createInterface }} from "node:readline";
const fold = (events, parts) => {{
  const folded = new FoldedParts(parts);
  for (const [name, data] of events) folded.apply(name, data);
  return folded.parts;
}};
// early: how many events come before the response with the snapshot. A snapshot that is too old for
// them is followed by the last one.
const join = (events, snapshot, early, last) => {{
  const transcript = new Transcript("g1");
  transcript.markGap();
  for (const [name, data] of events.slice(0, early)) transcript.apply(name, data);
  transcript.applySnapshot(snapshot);
  for (const [name, data] of events.slice(early)) transcript.apply(name, data);
  if (transcript.hasGap) transcript.applySnapshot(last);
  return transcript.parts;
}};
for await (const line of createInterface({{ input: process.stdin }})) {{
  const results = JSON.parse(line).map(({{ events, moment, snapshot, last }}) => [
    fold(events, []),
    fold(events.slice(moment), snapshot.parts),
    join(events.slice(moment), snapshot, 0, last),
    join(events.slice(moment), snapshot, 4, last),
  ]);
  console.log(JSON.stringify(results));
}}
"""
ANSWERS = st.one_of(
    st.builds(Attempt, st.lists(PARTS, max_size=15), ENDS),
    st.builds(build_answer, st.lists(STEPS, min_size=8, max_size=15), ENDS),  # of several attempts
)
CASES = st.lists(st.tuples(ANSWERS, st.integers(0, 15)), min_size=20, max_size=20)


class HubJs:
    """hub.js in a process of Node.js."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def fold(self, cases: list[dict[str, Any]]) -> Any:
        """Return what hub.js makes of each case."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(cases), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@pytest.fixture(scope="module")
def hub_js() -> Iterator[HubJs]:
    """hub.js for all tests of this file."""
    node = shutil.which("node")
    if node is None:
        missing("node")
    command = [node, "--input-type=module", "-e", SCRIPT]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield HubJs(process)


@settings(max_examples=15)
@given(answers=CASES)
def test_same_parts(hub_js: HubJs, answers: list[tuple[Attempt | Answer, int]]) -> None:
    """From the start, and from a snapshot at any moment, in the fold and in the transcript."""
    given_cases = [_describe(attempt, moment) for attempt, moment in answers]
    for (attempt, _), results in zip(answers, hub_js.fold(given_cases), strict=True):
        assert results == [fold(attempt.events)] * 4


Event = tuple[str, dict[str, Any]]


class RandomEvents:
    """Random events of a generation, of few names, so that many concern the same part."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def sequence(self, count: int) -> list[Event]:
        """Return this many events. The folds agree on them, also if no attempt publishes them."""
        builders = [self._delta, self._part, self._part, self._call, self._input]
        return [
            self._rare() if self._random.random() < 0.02 else self._random.choice(builders)()
            for _ in range(count)
        ]

    def _pick(self, *values: Any) -> Any:
        return self._random.choice(values)

    def _some(self, **fields: Any) -> dict[str, Any]:
        """Return a random half of the fields."""
        return {name: value for name, value in fields.items() if self._random.random() < 0.5}

    def _delta(self) -> Event:
        items = [{"x": n} for n in range(self._pick(0, 1, 2))]
        text = self._pick("", "a", "é😀")
        fields = (
            {"text": text},
            {"reasoning": text},
            {"reasoning_details": items},
            {"annotations": items},
            {"text": text, "reasoning": text, "tool_calls": None},
        )
        return "generation.delta", self._pick(*fields)

    def _call(self) -> Event:
        function = self._some(name="f", arguments=self._pick("", "{"))
        call = self._some(
            id=self._pick("a", "b"),
            run_by=self._pick("client", "producer"),
            function=self._pick(None, function),
            extra_content=self._pick(None, {"s": 1}),
        )
        return "generation.delta", {"tool_calls": [{"index": self._pick(0, 1, 2), **call}]}

    def _part(self) -> Event:
        name, key = self._pick("a", "b"), self._pick("a", "b", None)
        value = self._pick(None, 0, "x", [1], {"a": {"b": 2}})
        hidden = self._some(visible=self._pick(True, False))
        transient = {"transient": self._pick(True, False)} if self._pick(*range(4)) == 0 else {}
        part = self._pick(
            {"type": "tool_result", "id": key, "result": value, **self._some(is_error=True)},
            {"type": "tool_call", "id": key, "name": name, **hidden},
            {"type": "data", "name": name, "value": value, **self._some(id=key), **hidden},
            {"type": "data", "name": name, "value": value, "id": key, **transient},
            *[{"type": "step_start", "name": name}, {"type": "step_end", "name": name}] * 2,
            *[{"type": "status", "text": name}] * 2,
            {"type": "source", "url": name},
        )
        return "generation.part", {"generation": "g1", "i": 0, **part}

    def _input(self) -> Event:
        key = self._pick("a", "b", "c")
        head = {"generation": "g1", "input": key}
        request = {"prompt": self._pick("x", "y"), "options": self._pick(None, ["a"])}
        name, fields = self._pick(
            *[("requested", {"i": 0, **request, "expires_at": 1.5, **self._some(user="bob")})] * 2,
            ("received", {"value": self._pick(None, 0, {"a": 1}), "by": "bob"}),
            ("expired", {}),
        )
        return f"generation.input_{name}", {**head, **fields}

    def _rare(self) -> Event:
        name = self._pick(
            "replaced", "replaced", "started", "restarted", "done", "stopped", "failed"
        )
        return f"generation.{name}", {"text": self._pick("", "new")} if name == "replaced" else {}


def test_same_parts_of_any_events(hub_js: HubJs) -> None:
    """Both folds agree on random events, from the start and from a snapshot in the middle."""
    sequences = [RandomEvents(seed).sequence(40) for seed in range(400)]
    middles = [fold(events[:20]) for events in sequences]
    snapshots = [
        {"status": "running", "text": "", "parts": parts, "deltas": 0} for parts in middles
    ]
    cases = [
        {"events": events, "moment": 20, "snapshot": snapshot, "last": snapshot}
        for events, snapshot in zip(sequences, snapshots, strict=True)
    ]
    for seed, (folded, joined, *_) in enumerate(hub_js.fold(cases)):
        events = sequences[seed]
        assert folded == fold(events), f"seed {seed}"
        assert joined == fold(events[20:], middles[seed]), f"seed {seed}"


def _describe(attempt: Attempt | Answer, moment: int) -> dict[str, Any]:
    moment = min(moment, len(attempt.events) - 1)
    return {
        "events": attempt.events,
        "moment": moment,
        "snapshot": _snapshot(attempt.records[moment]),
        "last": _snapshot(attempt.records[-1]),
    }


def _snapshot(record: Generation) -> dict[str, Any]:
    return {
        "status": record.status.value,
        "attempt": record.attempt,
        "text": record.text,
        "parts": record.parts,
        "deltas": record.deltas,
        "model": "m",
    }
