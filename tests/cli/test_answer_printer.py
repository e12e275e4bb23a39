"""What `hub ask` says while an answer grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from hub.cli.answer_printer import print_answer
from hub_client import Answer, AnswerEvent, BadRequest, Continued, InputRequested
from hub_client.generations import Fold

GENERATION = "g2ak3f9x0w7q1m5b8zc"


class RecordedAnswer:
    """Has these events. Refuses each value with the error, and ends after that."""

    status = "waiting"
    ended = False

    def __init__(self, *events: AnswerEvent, refusal: BadRequest | None = None) -> None:
        self._events = events
        self._refusal = refusal
        self._refused = asyncio.Event()
        self.waiting_inputs: list[dict[str, Any]] = []

    async def events(self) -> AsyncIterator[AnswerEvent]:
        for event in self._events:
            if isinstance(event, InputRequested):
                self.waiting_inputs = [{"input": event.input, "options": event.options}]
            yield event
            if isinstance(event, InputRequested):
                await self._refused.wait()

    async def respond(self, key: str, value: Any) -> None:
        self._refused.set()
        assert self._refusal is not None
        raise self._refusal


@pytest.mark.parametrize(
    ("code", "waits"), [("input_invalid", True), ("input_expired", False), ("ended", False)]
)
async def test_refused_flag_says_whether_the_answer_still_waits(
    capsys: pytest.CaptureFixture[str], code: str, waits: bool
) -> None:
    """A command without a terminal does not wait silently when its --input was refused."""
    answer = RecordedAnswer(
        InputRequested(
            generation=GENERATION,
            input="refund",
            prompt="Refund?",
            options=["approve", "deny"],
            expires_at=1.0,
        ),
        refusal=BadRequest("the value is refused", status=400, code=code),
    )
    await print_answer(cast("Answer", answer), as_json=True, inputs={"refund": "maybe"})
    shown = capsys.readouterr().err
    assert "(the value of refund was refused: the value is refused)" in shown
    assert ("(the answer still waits for refund. Answer it in another" in shown) == waits


async def test_answer_that_continues_is_not_called_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An answer also continues after it was suspended: no worker was lost then."""
    continued = Continued(generation=GENERATION, attempt=2, parts=1, snapshot=Fold(text="I ask. "))
    await print_answer(cast("Answer", RecordedAnswer(continued)), as_json=False)
    output = capsys.readouterr()
    assert output.out == "I ask. "
    assert "lost" not in output.err
    assert "(a new attempt continues the answer)" in output.err
