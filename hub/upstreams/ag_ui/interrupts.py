"""The interrupts of AG-UI: what an agent asks.

Source: docs.ag-ui.com, "Interrupts", and the package @ag-ui/core (`Interrupt`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from hub.core.interrupts import Interrupt

_NO_WORDS: Final = "The agent asks for a decision."


def read_interrupts(given: Any) -> list[Interrupt]:
    """Return the interrupts of a run that is finished."""
    interrupts = (
        [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    )
    return [_read_interrupt(each) for each in interrupts] or [Interrupt(id="", prompt=_NO_WORDS)]


def _read_interrupt(given: Mapping[str, Any]) -> Interrupt:
    schema = given.get("responseSchema")
    tool_call, words = given.get("toolCallId"), given.get("message") or given.get("reason")
    return Interrupt(
        id=str(given.get("id") or ""),
        prompt=words if isinstance(words, str) else _NO_WORDS,
        tool_call=tool_call if isinstance(tool_call, str) else None,
        is_approval=_is_approval(schema),
        schema=schema if isinstance(schema, dict) else None,
        expires_at=_read_time(given.get("expiresAt")),
    )


def _read_time(given: Any) -> float | None:
    """Return a time of ISO 8601 in Unix seconds; UTC without a zone. None for anything else."""
    try:
        time = datetime.fromisoformat(given)
        return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _is_approval(schema: Any) -> bool:
    """Whether the answer must say whether it approves, and need not say more."""
    if not isinstance(schema, dict) or schema.get("required") != ["approved"]:
        return False
    properties = schema.get("properties")
    approved = properties.get("approved") if isinstance(properties, dict) else None
    return isinstance(approved, dict) and approved.get("type") == "boolean"
