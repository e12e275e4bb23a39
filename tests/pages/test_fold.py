"""hub.js folds the parts of an answer as the hub does."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import missing
from tests.engine.test_attempt_events import ENDS, Attempt, fold
from tests.engine.test_durable import STEPS, Answer, build_answer
from tests.parts import PARTS

MODULE = Path(__file__).parents[2] / "hub" / "http" / "pages" / "hub.js"
SCRIPT = f"""
import {{ FoldedParts, Transcript }} from "{MODULE.as_uri()}";
import {{ readFileSync }} from "node:fs";
const fold = (events, parts) => {{
  const folded = new FoldedParts(parts);
  for (const [name, data] of events) folded.apply(name, data);
  return folded.parts;
}};
const join = (events, snapshot) => {{
  const transcript = new Transcript("g1");
  transcript.markGap();
  transcript.applySnapshot(snapshot);
  for (const [name, data] of events) transcript.apply(name, data);
  return transcript.parts;
}};
const cases = JSON.parse(readFileSync(0));
const results = cases.map(({{ events, moment, snapshot }}) => [
  fold(events, []),
  fold(events.slice(moment), snapshot.parts),
  join(events.slice(moment), snapshot),
]);
console.log(JSON.stringify(results));
"""
ANSWERS = st.one_of(
    st.builds(Attempt, st.lists(PARTS, max_size=15), ENDS),
    st.builds(build_answer, st.lists(STEPS, max_size=15), ENDS),  # of several attempts
)
CASES = st.lists(st.tuples(ANSWERS, st.integers(0, 15)), min_size=50, max_size=50)


@settings(max_examples=3)
@given(CASES)
def test_same_parts(answers: list[tuple[Attempt | Answer, int]]) -> None:
    """From the start, and from a snapshot at any moment, in the fold and in the transcript."""
    node = shutil.which("node")
    if node is None:
        missing("node")
    given_cases = [_describe(attempt, moment) for attempt, moment in answers]
    done = subprocess.run(
        [node, "--input-type=module", "-e", SCRIPT],
        input=json.dumps(given_cases),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for (attempt, _), results in zip(answers, json.loads(done.stdout), strict=True):
        assert results == [fold(attempt.events)] * 3


def _describe(attempt: Attempt | Answer, moment: int) -> dict[str, Any]:
    moment = min(moment, len(attempt.events) - 1)
    record = attempt.records[moment]
    snapshot = {
        "status": record.status.value,
        "attempt": record.attempt,
        "text": record.text,
        "parts": record.parts,
        "deltas": record.deltas,
        "model": "m",
    }
    return {"events": attempt.events, "moment": moment, "snapshot": snapshot}
