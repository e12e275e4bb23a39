"""The clients of the AI SDK and of AG-UI read every part of an answer."""

from __future__ import annotations

import json
import shutil
import subprocess

from tests.compat.test_parts import STORY, chunks
from tests.conftest import missing
from tests.interop.programs import JS


def test_parts() -> None:
    """The AI SDK makes parts of all chunks, and AG-UI's verifier accepts all events."""
    node = shutil.which("node")
    if node is None or not (JS / "node_modules").exists():
        missing("node with the packages of tests/interop/js")
    given = {"ui": chunks("ui", STORY), "agUi": chunks("ag-ui", STORY)}
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
    read = json.loads(done.stdout)
    assert read["verified"] == len(given["agUi"])
    call, text, source, file, data, more_text, other_call = read["parts"][2:]
    assert (call["type"], call["state"]) == ("tool-find", "output-available")
    assert (call["output"], call["providerExecuted"]) == ({"hits": 2}, True)
    assert (text["text"], more_text["text"]) == ("a", "b")
    assert (source["type"], source["sourceId"]) == ("source-url", "doc-1")
    assert (file["type"], file["mediaType"]) == ("file", "image/png")
    assert (data["type"], data["id"], data["data"]) == ("data-chart", "c", [1])
    assert (other_call["type"], other_call["state"]) == ("tool-open", "input-available")
