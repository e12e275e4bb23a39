"""Interrupts: an agent ends its run because it needs something of a person to go on.

AG-UI calls them interrupts, and the AI SDK tool approvals. The run goes on in another request that
brings the decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.errors import UpstreamError

DECISIONS: Final = ("approve", "deny")
"""The options of an approval; the first one approves."""


class Interrupt(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent needs.

    id: the agent's name of it. prompt: a sentence for the person. tool_call: the id of the call
    that is to be approved, None if it is about something else. is_approval: whether the answer is
    one of DECISIONS. schema: the JSON Schema of another answer, None for any. fields: what the
    agent needs back unchanged.
    """

    id: str
    prompt: str
    tool_call: str | None = None
    is_approval: bool = False
    schema: Any = None
    fields: Mapping[str, Any] = {}


class UpstreamInterrupted(UpstreamError):
    """An agent has ended its run with interrupts. The parts before that remain valid."""

    def __init__(self, interrupts: Sequence[Interrupt]) -> None:
        prompts = "; ".join(each.prompt for each in interrupts)
        message = f"the agent asks for a decision, for which this answer cannot wait: {prompts}"
        super().__init__(
            "upstream_interrupted", message[:500], retryable=False, rejects_request=True
        )
        self.interrupts = interrupts
