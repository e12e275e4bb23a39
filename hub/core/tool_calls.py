"""The tool calls of one response in a normal form, however the server sends them.

Servers number parallel calls wrongly, omit ids or repeat them, repeat names or send them in
fragments, and send arguments as text, as an object, or not at all. The normal form is that of
OpenAI's deltas:

1. The first delta of a call has `index`, `id`, `type` and `function.name`; no later delta has `id`,
   `type` or a name. The id is a text that no other call of the response has.
2. `index` counts the calls from 0, in the order of their first deltas.
3. `function.arguments` is text in every delta. All of them together are never empty: at least `{}`.
4. Other fields of a call, such as `extra_content` with a thought signature, are kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence, Set
from typing import Any, Final

import msgspec

MAX_TOOL_CALLS: Final = 1000
"""The calls of one answer. An upstream that sends more of them has failed."""

_ARGUMENT_FIELDS: Final = ("arguments", "parameters", "input")
_NO_ARGUMENTS: Final = ("", "{}")
_CALL_FIELDS: Final = frozenset({"index", "id", "type", "function", "name", *_ARGUMENT_FIELDS})


class UnnamedToolCall(ValueError):
    """The response has arguments for a tool call whose name never came."""


class _Delta(msgspec.Struct):
    """What a server's delta says. id, name, arguments: empty if it says nothing of them.

    whole: arguments that came as a JSON value, as text. is_empty: whether that value is empty.
    is_start: whether the delta has a type, which servers send at the start of a call. extras: the
    other fields.
    """

    id: str
    index: int | None
    name: str
    arguments: str
    whole: str
    is_empty: bool
    is_start: bool
    extras: dict[str, Any]


class _BracketScan(msgspec.Struct):
    """How far JSON text has been looked at, piece by piece, for the end of its brackets."""

    chunks: int = 0
    depth: int = 0
    has_closed: bool = False
    in_string: bool = False
    after_backslash: bool = False

    def is_complete(self, chunks: Sequence[str]) -> bool:
        """Whether every bracket is closed. chunks: those of the last call, and new ones."""
        for char in "".join(chunks[self.chunks :]):
            if self.after_backslash:
                self.after_backslash = False
            elif self.in_string:
                self.after_backslash = char == "\\"
                self.in_string = char != '"'
            elif char == '"':
                self.in_string = True
            else:
                self.depth += (char in "{[") - (char in "}]")
                self.has_closed = self.has_closed or char in "}]"
        self.chunks = len(chunks)
        return self.has_closed and self.depth <= 0 and not self.in_string


class _Call(msgspec.Struct, eq=False):
    """A call so far. Two calls are never equal.

    upstream_id, upstream_index: those of the server. index: that of the normal form, None until the
    first delta is sent. arguments: the received pieces of text; pending: those not sent yet.
    whole: arguments that came as a JSON value; they are sent when no text can follow. An empty
    object is sent at the end only: Anthropic's blocks begin with one, whatever follows.
    """

    upstream_id: str = ""
    upstream_index: int | None = None
    name: str = ""
    index: int | None = None
    arguments: list[str] = []
    pending: list[str] = []
    whole: str = ""
    has_sent_whole: bool = False
    scan: _BracketScan = msgspec.field(default_factory=_BracketScan)
    extras: dict[str, Any] = {}
    unsent_extras: dict[str, Any] = {}

    @property
    def has_arguments(self) -> bool:
        return bool(self.arguments or self.whole)

    def is_complete(self) -> bool:
        """Whether the arguments so far are a whole JSON object or list."""
        return bool(self.whole) or self.scan.is_complete(self.arguments)

    def all_arguments(self) -> str:
        return self.whole or "".join(self.arguments)


class ToolCallAssembler:
    """Converts the deltas of one response to the normal form.

    A call without arguments waits until its name cannot grow any more: until its arguments, those
    of a later call or the end. has_whole_names: True for a wire format that never splits a name;
    then no call waits.
    """

    def __init__(self, *, has_whole_names: bool = False) -> None:
        self._has_whole_names = has_whole_names
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._sent_ids: set[str] = set()

    @property
    def has_client_calls(self) -> bool:
        """Whether the response has a call with a name that its sender does not run itself."""
        return any(call.name and call.extras.get("run_by") != "producer" for call in self._calls)

    @property
    def count(self) -> int:
        """The number of calls so far; those beyond one more than the limit are not read."""
        return len(self._calls)

    def feed(self, deltas: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the normal form of a server's deltas, which arrived together."""
        sent: list[dict[str, Any]] = []
        touched: set[_Call] = set()
        for each in deltas:
            delta = _read_delta(each)
            call = self._find(delta, touched)
            if call is None:
                if len(self._calls) > MAX_TOOL_CALLS:
                    break
                call = _Call()
                self._calls.append(call)
            touched.add(call)
            self._update(call, delta)
            if call.index is None and self._can_send(call):
                for earlier in self._calls[: self._calls.index(call)]:
                    sent += self._send(earlier, is_over=True)
            sent += self._send(call)
        return sent

    def finish(self) -> list[dict[str, Any]]:
        """Return what is missing when the response is complete. Raise UnnamedToolCall."""
        sent: list[dict[str, Any]] = []
        for call in self._calls:
            if not call.name and call.has_arguments:
                raise UnnamedToolCall
            if call.whole in _NO_ARGUMENTS and not "".join(call.arguments).strip():
                call.pending.append("{}")
            sent += self._send(call, is_over=True)
        return sent

    def _find(self, delta: _Delta, touched: Set[_Call]) -> _Call | None:
        """Return the call that a delta continues; None when it starts one.

        touched: the calls of the deltas that arrived together with this one.
        """
        at_index = self._by_index.get(delta.index) if delta.index is not None else None
        call = self._by_id.get(delta.id) if delta.id else None
        if call is not None:
            if at_index is not None and at_index.upstream_id == delta.id:
                call = at_index  # several calls have the same id
            return None if _reuses_id(call, delta) else call
        call = at_index
        if call is None and delta.index is None and self._calls:
            call = self._calls[-1]
        if call is None:
            return None
        if delta.id and delta.name:  # a new id starts a call, unless the id comes late
            is_late = not call.upstream_id and call.name in ("", delta.name)
            is_more = is_late or _continues(call, delta)  # some servers make an id for each piece
            return call if is_more and call not in touched and not call.is_complete() else None
        if delta.id and not delta.arguments and call.is_complete():
            return None
        is_other = delta.name and _starts_call(call, delta, is_together=call in touched)
        return None if is_other else call

    def _update(self, call: _Call, delta: _Delta) -> None:
        if delta.id:
            call.upstream_id = call.upstream_id or delta.id
            self._by_id[delta.id] = call
        if delta.index is not None:
            call.upstream_index = (
                delta.index if call.upstream_index is None else call.upstream_index
            )
            self._by_index[delta.index] = call
        if delta.name and call.index is None and not call.has_arguments:
            is_repeated = call.name.startswith(delta.name)
            if not is_repeated:
                is_longer = delta.name.startswith(call.name)
                call.name = delta.name if is_longer else call.name + delta.name
        elif not call.name:
            call.name = delta.name
        for name, value in delta.extras.items():
            if call.extras.get(name) != value:
                call.extras[name] = call.unsent_extras[name] = value
        if delta.whole and not call.arguments and not delta.is_empty:
            whole = "{}" if delta.whole == "[]" else delta.whole  # PHP's empty object
            # A later value of a call may have more fields than the first one.
            call.whole = call.whole if whole == "{}" and call.whole else whole
        # A server that parses each token sends some pieces of the text as JSON values.
        is_chunk = bool(delta.whole and call.arguments) and not call.is_complete()
        arguments = delta.whole if is_chunk else delta.arguments
        if arguments and not call.has_sent_whole:
            is_repeated = bool(delta.id and delta.name) and call.is_complete()
            if call.whole or not is_repeated:
                call.whole = ""
                call.arguments.append(arguments)
                call.pending.append(arguments)

    def _can_send(self, call: _Call, *, is_over: bool = False) -> bool:
        """Whether a call has something to send. is_over: whether nothing follows."""
        is_named = call.index is None and (is_over or self._has_whole_names)
        is_more = call.index is not None and bool(call.unsent_extras)
        return bool(call.name) and (bool(call.pending) or is_named or is_more)

    def _send(self, call: _Call, *, is_over: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the next delta of a call, if it can be sent. is_over: whether nothing follows."""
        if call.name and is_over and call.whole not in _NO_ARGUMENTS and not call.has_sent_whole:
            call.pending, call.has_sent_whole = [call.whole], True
        if not self._can_send(call, is_over=is_over):
            return
        is_first = call.index is None
        delta: dict[str, Any] = {"index": call.index}
        function = {"arguments": "".join(call.pending)}
        if is_first:
            delta["index"] = call.index = len(self._sent_ids)
            delta |= {"id": self._choose_id(call.upstream_id), "type": "function"}
            function = {"name": call.name, **function}
        yield {**delta, **call.unsent_extras, "function": function}
        call.pending, call.unsent_extras = [], {}

    def _choose_id(self, upstream_id: str) -> str:
        """Return the server's id if it is unique, else a new one."""
        id_ = upstream_id
        while not id_ or id_ in self._sent_ids:
            id_ = f"call_{secrets.token_hex(12)}"
        self._sent_ids.add(id_)
        return id_


def _reuses_id(call: _Call, delta: _Delta) -> bool:
    """Whether a delta with the id of a known call starts another one, which has the same id."""
    if not delta.name:
        return False
    if None not in (delta.index, call.upstream_index) and delta.index != call.upstream_index:
        return True
    if not (delta.arguments or delta.whole) or not call.is_complete():
        return False
    return (delta.name, delta.whole or delta.arguments) != (call.name, call.all_arguments())


def _continues(call: _Call, delta: _Delta) -> bool:
    """Whether a delta with a new id has the next piece of the arguments of a call."""
    is_more = bool(delta.arguments) and not delta.arguments.lstrip().startswith("{")
    return is_more and bool(call.arguments) and delta.name == call.name


def _starts_call(call: _Call, delta: _Delta, *, is_together: bool) -> bool:
    """Whether a delta with a name starts another call than the one at its index.

    is_together: whether both arrived together.
    """
    if not call.name:
        return False
    if call.has_arguments:
        is_more = bool(delta.arguments or delta.whole)
        return delta.name != call.name or (is_more and call.is_complete())
    if delta.name == call.name:  # the name is repeated
        return is_together
    return is_together or (delta.is_start and not call.upstream_id)


def _read_delta(call: dict[str, Any]) -> _Delta:
    given = call.get("function")
    if isinstance(given, str):  # some servers send the object as text
        given = _parse(given)
    function = given if isinstance(given, dict) else call
    name = function.get("name")
    given_values = (function.get(each) for each in _ARGUMENT_FIELDS)
    value = next((each for each in given_values if each is not None), "")
    is_text = isinstance(value, str)
    return _Delta(
        id=_read_id(call.get("id")),
        index=_read_index(call.get("index")),
        name=name if isinstance(name, str) else "",
        arguments=value if is_text else "",
        whole="" if is_text else msgspec.json.encode(value).decode(),
        is_empty=not value and not isinstance(value, dict | list),
        is_start=isinstance(call.get("type"), str),
        extras=_read_extras(call),
    )


def _parse(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _read_extras(call: dict[str, Any]) -> dict[str, Any]:
    names = call.keys() - _CALL_FIELDS
    return {name: call[name] for name in names if call[name] is not None} if names else {}


def _read_id(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _read_index(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
