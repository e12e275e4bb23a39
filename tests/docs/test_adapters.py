"""The adapter in the document, with an agent that speaks the events of the example."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hub.producer import App, Part, Run
from hub.testing import crash_at_every_part, run_producer
from tests.docs.snippets import DOCS, find_blocks


class Agent:
    """An agent that calls a tool and then writes; its state is the list of its results."""

    def load(self, state: Any) -> None:
        self.results = state if state and "value" in state[0] else []

    def dump(self) -> Any:
        return self.results

    async def stream(self) -> AsyncIterator[dict[str, Any]]:
        if not self.results:
            yield {"type": "thinking", "text": "An order."}
            yield {"type": "call", "id": "1", "name": "find", "arguments": "{}"}
            self.results.append({"value": "shipped"})
            yield {"type": "result", "id": "1", "value": "shipped"}
        for word in ("It ", "is ", self.results[0]["value"]):
            yield {"type": "token", "text": word}


async def test_adapter_of_the_page() -> None:
    """Each event becomes a part, and a lost process changes nothing for readers."""
    page = DOCS / "guides" / "adapters.md"
    test = f"tests/docs/{Path(__file__).name}"
    (code,) = [block.code for block in find_blocks(page) if block.test == test]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the document is ours

    async def answer(run: Run) -> AsyncIterator[Part]:
        async for part in names["stream"](Agent(), run):
            yield part

    produce = App().producer(retries=3)(answer)
    whole = await run_producer(produce)
    assert [part["type"] for part in whole.seen] == ["reasoning", "tool_call", "text"]
    assert whole.text == "It is shipped"
    lost = await crash_at_every_part(produce)
    assert [result.seen for result in lost] == [whole.seen] * len(lost)
