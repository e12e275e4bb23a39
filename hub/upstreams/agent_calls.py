"""The tool calls of an agent's run: their ids, and who runs each tool.

An agent runs most of its tools itself and streams their results. Which calls it leaves to the
client is certain only when the run ends: those that have no result then.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from hub.core.generation import GenerationRequest
from hub.core.parts import Part, ToolCallDelta, ToolResult
from hub.upstreams.chat_params import tool_names


class AgentCall(msgspec.Struct, eq=False):
    """A tool call so far.

    id: that of the parts, which no other call of the run has. is_ended: whether its arguments are
    complete. is_settled: whether it is not for the client, because it has its result or the agent
    said so. repeated_chars: how many characters of arguments have come since the agent retracted
    the call, None if it did not.
    """

    id: str
    index: int
    name: str
    run_by: str
    arguments: str = ""
    is_ended: bool = False
    has_result: bool = False
    is_settled: bool = False
    repeated_chars: int | None = None


class AgentCalls:
    """Converts what an agent streams of its tool calls to parts.

    client_tools: the names of the tools that the client offers, and runs itself. decided: the ids
    of the calls of an earlier run that a person has decided on: some agents send them again.
    """

    def __init__(self, client_tools: Collection[str] = (), decided: Collection[str] = ()) -> None:
        self._client_tools = client_tools
        self._decided = decided
        self._calls: list[AgentCall] = []
        self._by_agent_id: dict[str, AgentCall] = {}
        self._ids: set[str] = set()

    @property
    def count(self) -> int:
        """The number of calls so far."""
        return len(self._calls)

    @property
    def are_for_client(self) -> bool:
        """Whether the client is to run any of the calls."""
        return any(call.run_by == "client" for call in self._calls)

    def __contains__(self, agent_id: str) -> bool:
        """Whether a call with this id of the agent's has begun."""
        return agent_id in self._by_agent_id

    def find(self, agent_id: str) -> AgentCall | None:
        """Return the newest call with this id of the agent's; without an id, the newest call."""
        if not agent_id:
            return self._calls[-1] if self._calls else None
        return self._by_agent_id.get(agent_id)

    def begin(
        self, agent_id: str, name: str, extras: Mapping[str, Any] | None = None
    ) -> Part | None:
        """Begin a call, and return its part. extras: its fields of the vendor's own.

        Return None for a call that has begun, and for one that is repeated after its retraction.
        An id that comes again after the end of its call begins another call.
        """
        if agent_id in self._decided:
            return None
        call = self._by_agent_id.get(agent_id) if agent_id else None
        run_by = "client" if name in self._client_tools else "producer"
        if call is not None and name and not call.name:  # its arguments came first
            call.name, call.run_by = name, run_by
        elif call is not None and (not call.is_ended or call.repeated_chars is not None):
            return None
        else:
            call = AgentCall(self._choose_id(agent_id), len(self._calls), name, run_by)
            self._calls.append(call)
            self._by_agent_id[agent_id] = call
        delta = {"index": call.index, "id": call.id, "type": "function", **(extras or {})}
        if run_by != "client":
            delta["run_by"] = run_by
        return ToolCallDelta([{**delta, "function": {"name": name, "arguments": ""}}])

    def append(self, agent_id: str, arguments: str) -> Iterator[Part]:
        """Yield more of the arguments of a call, which may not have begun."""
        if agent_id in self._decided:
            return
        if (call := self.find(agent_id)) is None:
            if (part := self.begin(agent_id, "")) is not None:
                yield part
            call = self._calls[-1]
        if call.repeated_chars is not None:
            known = max(0, len(call.arguments) - call.repeated_chars)
            call.repeated_chars += len(arguments)
            arguments = arguments[known:]
        if arguments and not call.is_ended:
            call.arguments += arguments
            yield self._delta(call, function={"arguments": arguments})

    def extend(self, agent_id: str, extras: Mapping[str, Any]) -> Iterator[Part]:
        """Yield more fields of the vendor's own of a call that has begun."""
        if (call := self.find(agent_id)) is not None and extras:
            yield self._delta(call, **extras)

    def end(self, agent_id: str, arguments: str = "") -> Iterator[Part]:
        """Yield what is missing of the arguments when they are complete.

        arguments: all of them; they count if none have come.
        """
        call = self.find(agent_id)
        if call is None or call.is_ended:
            return
        if not call.arguments:
            yield from self.append(agent_id, arguments or "{}")
        call.is_ended = True

    def set_runner(self, agent_id: str, *, is_agent: bool) -> Iterator[Part]:
        """Yield who runs a call, if it changes. is_agent: whether it is certainly the agent."""
        if (call := self.find(agent_id)) is None:
            return
        call.is_settled = call.has_result or is_agent
        if is_agent and call.run_by == "client":
            yield from self._set_run_by(call, "producer")

    def discard(self, first: int, reason: str) -> Iterator[Part]:
        """Yield the results of the calls from a number on that the agent has given up."""
        for call in self._calls[first:]:
            if not call.has_result:
                call.is_ended = call.has_result = call.is_settled = True
                yield ToolResult(call.id, reason, is_error=True)

    def add_result(
        self, agent_id: str, result: Any, *, is_error: bool = False, is_final: bool = True
    ) -> Iterator[Part]:
        """Yield the result of a call, which ends its arguments; the call may be unknown.

        is_final: False for a result that a later one takes the place of.
        """
        call = self.find(agent_id)
        if call is None:
            yield ToolResult(agent_id, result, is_error=is_error)
            return
        yield from self.end(agent_id)
        if call.run_by == "client":
            yield from self._set_run_by(call, "producer")
        call.has_result = call.has_result or is_final
        call.is_settled = call.is_settled or is_final
        yield ToolResult(call.id, result, is_error=is_error)

    def retract(self) -> None:
        """Expect that the agent repeats its calls, as it does after it has retracted them."""
        for call in self._calls:
            call.repeated_chars = 0

    def leave_to_client(self, agent_ids: Collection[str] | None = None) -> Iterator[Part]:
        """Yield who runs the calls that have no result at the end of the run: the client.

        agent_ids: the agent's ids of these calls; None means all of them.
        """
        pending = [
            call
            for call in self._calls
            if not call.is_settled and (agent_ids is None or self._is_one_of(call, agent_ids))
        ]
        for call in pending:
            if call.run_by != "client" and call.name:
                yield from self._set_run_by(call, "client")

    def _is_one_of(self, call: AgentCall, agent_ids: Collection[str]) -> bool:
        return any(self._by_agent_id.get(agent_id) is call for agent_id in agent_ids)

    def _set_run_by(self, call: AgentCall, run_by: str) -> Iterator[Part]:
        call.run_by = run_by
        yield self._delta(call, run_by=run_by)

    def _delta(self, call: AgentCall, **fields: Any) -> Part:
        return ToolCallDelta([{"index": call.index, **fields}])

    def _choose_id(self, agent_id: str) -> str:
        id_ = agent_id
        while not id_ or id_ in self._ids:
            id_ = f"call_{secrets.token_hex(12)}"
        self._ids.add(id_)
        return id_


def calls_of(request: GenerationRequest | None) -> AgentCalls:
    """Return the calls of the response to a request, None for one that is not known."""
    if request is None:
        return AgentCalls()
    earlier = [call for message in request.messages for call in message.tool_calls or ()]
    decided = [
        str(call.get("id")) for call in earlier if isinstance(call, dict) and "approval" in call
    ]
    return AgentCalls(tool_names(request.params), frozenset(decided))
