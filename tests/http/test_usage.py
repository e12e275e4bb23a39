"""GET /usage: its query parameters."""

from __future__ import annotations

import pytest

from tests.http.kit import running_hub


@pytest.mark.parametrize("day", ["", "20260131", "2026-W05-6", "2026-02-30", "today"])
async def test_day_is_a_date_in_its_one_form(day: str) -> None:
    """Any other form of a date is a 400, also an empty one."""
    async with running_hub() as hub:
        status, problem = await hub.call("GET", f"/usage?day={day}", internal=True)
    assert (status, problem.get("path")) == (400, "day")
    assert problem["detail"] == "day must be a date, YYYY-MM-DD"


async def test_days_before_the_calendar() -> None:
    """A range that begins before the first day of the calendar is a 400."""
    async with running_hub() as hub:
        path = "/usage?day=0001-01-01&days="
        assert (await hub.call("GET", f"{path}1", internal=True))[0] == 200
        status, problem = await hub.call("GET", f"{path}2", internal=True)
    assert (status, problem.get("path")) == (400, "days")
