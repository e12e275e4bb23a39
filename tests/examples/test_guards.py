"""The guard of examples/guards.py, however an answer is split."""

from __future__ import annotations

import pytest

from examples.guards import check
from hub.producer import Status, Text
from hub.testing import run_guard

ANSWER = "Call +49 30 1234 5678, or write to bob.b@mail.example.com."
MASKED = "Call [contact], or write to [contact]."


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 60])
async def test_contacts_are_masked_wherever_they_are_split(size: int) -> None:
    """No reader sees a part of an address or a number at any time."""
    deltas = [ANSWER[n : n + size] for n in range(0, len(ANSWER), size)]
    result = await run_guard(check, deltas)
    assert result.text == MASKED
    assert all(MASKED.startswith(text) for text in result.shown)
    assert result.end is None


async def test_contact_before_another_part() -> None:
    """A part that interrupts the text ends an address."""
    result = await run_guard(check, ["Ask bob@example.com", Status("s"), " now"])
    assert result.text == "Ask [contact] now"
    assert result.parts[:2] == [Text("Ask [contact]"), Status("s")]


async def test_secret_project() -> None:
    """The answer ends, and what was shown is taken back."""
    result = await run_guard(check, [*("x" * 100), "Project\nNight", "ingale is"])
    assert result.end is not None
    assert (result.text, result.end.code) == ("", "off_topic")
    assert not any("Project" in text for text in result.shown)
