"""The clients of the AI SDK and of AG-UI read every part of an answer."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hub.compat.answer_state import AnswerCollector
from hub.core.parts import Part
from tests.compat.history import RECORD, Event, encode_all
from tests.compat.test_function_streams import FUNCTIONS, events_of
from tests.compat.test_parts import STORY, chunks
from tests.conftest import missing
from tests.interop.programs import JS


def read_all(answers: list[list[Event]]) -> list[dict[str, Any]]:
    """Return what the clients read of each answer. AG-UI's verifier accepted each event."""
    node = shutil.which("node")
    if node is None or not (JS / "node_modules").exists():
        missing("node with the packages of tests/interop/js")
    given = [{"ui": chunks("ui", each), "agUi": chunks("ag-ui 1.0", each)} for each in answers]
    done = subprocess.run(
        [node, "parts.mjs"],
        cwd=JS,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read: list[dict[str, Any]] = json.loads(done.stdout)
    assert [each["verified"] for each in read] == [len(each["agUi"]) for each in given]
    return read


@settings(deadline=None, max_examples=2)
@given(st.lists(FUNCTIONS, min_size=10, max_size=20))
async def test_streams_of_functions(functions: list[list[Part]]) -> None:
    """Both clients read every stream to its end, and have the text of the answer."""
    answers = [events_of(values) for values in functions]
    for answer, read in zip(answers, read_all(answers), strict=True):
        collected = AnswerCollector(RECORD)
        encode_all(collected, answer)
        text = ""
        for part in read["parts"]:
            if part["type"] == "data-generation":  # the text before it is void
                text = ""
            text += part.get("text", "") if part["type"] == "text" else ""
        assert text == collected.answer.text


def test_parts() -> None:
    """The AI SDK makes parts of all chunks, and AG-UI's verifier accepts all events."""
    (read,) = read_all([STORY])
    call, text, source, file, data, more_text, other_call = read["parts"][2:]
    assert (call["type"], call["state"]) == ("tool-find", "output-available")
    assert (call["output"], call["providerExecuted"]) == ({"hits": 2}, True)
    assert (text["text"], more_text["text"]) == ("a", "b")
    assert (source["type"], source["sourceId"]) == ("source-url", "doc-1")
    assert (file["type"], file["mediaType"]) == ("file", "image/png")
    assert (data["type"], data["id"], data["data"]) == ("data-chart", "c", [1])
    assert (other_call["type"], other_call["state"]) == ("tool-open", "input-available")
