"""Interrupts: an agent ends its run because it needs something of a person to go on.

AG-UI calls them interrupts, and the AI SDK tool approvals. The run goes on in another request: it
has the messages of the run so far, the decision in the field `approval` of a tool call that was to
be approved, and all answers in the parameter `resume`, in AG-UI's form (`ResumeEntry`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from hub.core.generation import GenerationRequest, Message
from hub.errors import UpstreamError

DECISIONS: Final = ("approve", "deny")
"""The options of an approval; the first one approves."""
RESUME: Final = "resume"
"""The parameter of a request with the answers."""
_EXPIRED: Final = "Nobody has answered in time."


class Interrupt(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent needs.

    id: the agent's name of it. prompt: a sentence for the person. tool_call: the id of the call
    that is to be approved, None if it is about something else. is_approval: whether the answer is
    one of DECISIONS. schema: the JSON Schema of another answer, None for any. expires_at: until
    when the agent takes the answer, in Unix seconds; None if it does not say. fields: what the
    agent needs back unchanged.
    """

    id: str
    prompt: str
    tool_call: str | None = None
    is_approval: bool = False
    schema: Any = None
    expires_at: float | None = None
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


def resume_request(
    request: GenerationRequest,
    run: Sequence[Message],
    interrupts: Sequence[Interrupt],
    values: Mapping[str, Any],
) -> GenerationRequest:
    """Return the request that lets a run go on.

    run: its messages so far. values: the answers by the id of the interrupt; one without a value
    was not answered in time.
    """
    approvals = {
        each.tool_call: _build_approval(each, values) for each in interrupts if each.tool_call
    }
    messages = [_with_approvals(message, approvals) for message in run]
    return msgspec.structs.replace(
        request,
        messages=[*request.messages, *messages],
        params={**request.params, RESUME: [_build_entry(each, values) for each in interrupts]},
    )


def _build_approval(interrupt: Interrupt, values: Mapping[str, Any]) -> dict[str, Any]:
    approved = values.get(interrupt.id) == DECISIONS[0]
    reason = {} if interrupt.id in values else {"reason": _EXPIRED}
    return {**interrupt.fields, "id": interrupt.id, "approved": approved, **reason}


def _build_entry(interrupt: Interrupt, values: Mapping[str, Any]) -> dict[str, Any]:
    head = {"interruptId": interrupt.id}
    if interrupt.id not in values:
        return {**head, "status": "cancelled"}
    value = values[interrupt.id]
    payload = {"approved": value == DECISIONS[0]} if interrupt.is_approval else value
    return {**head, "status": "resolved", "payload": payload}


def _with_approvals(message: Message, approvals: Mapping[str, Any]) -> Message:
    calls = [
        {**call, "approval": approvals[call["id"]]} if call["id"] in approvals else call
        for call in message.tool_calls or ()
    ]
    return msgspec.structs.replace(message, tool_calls=calls) if calls else message


def to_messages(parts: Iterable[Mapping[str, Any]]) -> list[Message]:
    """Return the messages of chat completions for the folded parts of a run."""
    run = _RunMessages()
    return [message for part in [*parts, None] for message in run.add(part)]


class _RunMessages:
    """Collects an answer until the results of its tools, which follow it."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._details: list[Any] = []
        self._calls: list[dict[str, Any]] = []
        self._results: list[Message] = []

    def add(self, part: Mapping[str, Any] | None) -> Iterator[Message]:
        """Add a part, and yield the messages before it. None ends the last one."""
        kind = "end" if part is None else part["type"]
        if kind == "end" or (self._results and kind in ("text", "reasoning", "tool_result")):
            yield from self._take()
        if part is None:
            return
        match kind:
            case "text":
                self._texts.append(part["text"])
            case "reasoning":
                self._reasoning.append(part["text"])
                self._details += part.get("details", ())
            case "tool_call" if "index" in part:
                function = {"name": part["name"], "arguments": part["arguments"]}
                head = {"id": part["id"], "type": "function", "function": function}
                self._calls.append({**part.get("extras", {}), **head})
                if "result" in part:
                    self._add_result(part)
            case "tool_result":
                self._add_result(part)
            case _:
                pass

    def _add_result(self, part: Mapping[str, Any]) -> None:
        result = part["result"]
        text = result if isinstance(result, str) else msgspec.json.encode(result).decode()
        self._results.append(Message("tool", text, tool_call_id=part["id"]))

    def _take(self) -> Iterator[Message]:
        if self._texts or self._calls:
            yield Message(
                "assistant",
                "".join(self._texts) or None,
                tool_calls=[*self._calls] or None,
                reasoning_content="".join(self._reasoning) or None,
                reasoning_details=[*self._details] or None,
            )
        yield from self._results
        for collected in (self._texts, self._reasoning, self._details, self._calls, self._results):
            collected.clear()
