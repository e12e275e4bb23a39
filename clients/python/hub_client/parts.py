"""The parts of an answer in order, folded: what the events of a generation add up to.

Each part is a JSON object with the field `type`:

    text, reasoning     text; details of reasoning: the vendor's form of it
    tool_call           index, id, name, arguments, run_by, extras; result and is_error once known;
                        state `cancelled` if the answer ended before its producer had the result
    tool_result         id, result, is_error: of a call that is not among the parts
    annotations         annotations: sources as OpenAI's chat completions name them
    source, file        as they were published
    status              text: the newest one only
    step                name, state: `running`, `done` or `cancelled`
    data                name, value, id
    input               input (the key), prompt, options, schema, expires_at, tool_call; state:
                        `waiting`, `received` with value and by, `expired` or `cancelled`

Rules:
1. Adjacent texts are one part, and so are adjacent reasoning and adjacent annotations.
2. A tool call and its result are one part, where the call is.
3. A status removes the one before it. Data with the name and the id of earlier data replaces its
   value, and stays where that is.
4. A rewritten text removes all texts; the new one is where the last of them was.
5. The request of an input is where it was published first. Its value and its end change only that
   part, so it does not matter where they come among the other events.
6. A snapshot folded with what follows it is the same as everything folded from the start. Results
   and data with `visible: false` never change a visible part, so they can be left out at any time
   (`visible_parts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_NOT_OF_A_PART: Final = ("generation", "i")
_NOT_OF_AN_INPUT: Final = (*_NOT_OF_A_PART, "user")  # approvers get it
_CALL_FIELDS: Final = frozenset({"index", "id", "type", "function", "run_by"})
_TEXT_FIELDS: Final = {"text": "text", "reasoning": "text", "tool_call": "arguments"}
_JOINED_FIELDS: Final[Mapping[str, Sequence[str]]] = {
    "text": ("text",),
    "reasoning": ("text", "details"),
    "annotations": ("annotations",),
}


class _Entry:
    """A part. The text of its field that grows is kept in chunks until somebody reads it."""

    __slots__ = ("_chunks", "_fields", "_text_field", "type")

    def __init__(self, fields: dict[str, Any]) -> None:
        self.type: str = fields["type"]
        self._fields = fields
        self._text_field = _TEXT_FIELDS.get(self.type)
        self._chunks: list[str] = []

    @property
    def fields(self) -> dict[str, Any]:
        if self._chunks and self._text_field is not None:
            before = self._fields.get(self._text_field, "")
            self._fields[self._text_field] = before + "".join(self._chunks)
            self._chunks = []
        return self._fields

    def append(self, text: str) -> None:
        self._chunks.append(text)

    def join(self, following: _Entry) -> None:
        """Append the content of the part that has become the next one."""
        fields = following.fields
        if self._text_field in fields:
            self.append(fields[self._text_field])
        for name in ("details", "annotations"):
            if name in fields:
                self._fields.setdefault(name, []).extend(fields[name])


class FoldedParts:
    """Folds the events of one generation. parts: those of a snapshot, to begin with.

    An event costs the same however many parts there are, because its part is found by an index.
    """

    def __init__(self, parts: Iterable[Mapping[str, Any]] = ()) -> None:
        self._entries: list[_Entry] = []
        self._load(parts)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The parts so far. The list and its objects are the caller's own."""
        return [_copy(entry.fields) for entry in self._entries]

    @property
    def text(self) -> str:
        """The text so far, of all parts together."""
        return "".join(entry.fields["text"] for entry in self._entries if entry.type == "text")

    def apply(self, name: str, data: Mapping[str, Any]) -> None:
        """Apply the next event of the generation. Events that concern no part change nothing.

        name: that of the event. data: its fields.
        """
        match name:
            case "generation.delta":
                self._apply_delta(data)
            case "generation.part":
                self._apply_part({k: data[k] for k in data if k not in _NOT_OF_A_PART})
            case "generation.input_requested":
                self._request_input({k: data[k] for k in data if k not in _NOT_OF_AN_INPUT})
            case "generation.input_received":
                self._end_input(
                    data, {"state": "received", "value": data["value"], "by": data["by"]}
                )
            case "generation.input_expired":
                self._end_input(data, {"state": "expired"})
            case "generation.replaced":
                self._replace_text(data["text"])
            case "generation.snapshot":
                self._load(data.get("parts", ()))
            case "generation.continued":
                self._load(data["snapshot"]["parts"])
            case "generation.started" | "generation.restarted":
                self._load(())
            case "generation.done":
                self._close("done")
            case "generation.stopped" | "generation.failed":
                self._close("cancelled")

    def append_text(self, text: str) -> None:
        """Apply a `generation.delta` that only has more text."""
        if text:
            self._open("text", text="").append(text)

    def has_input(self, key: str) -> bool:
        """Return whether an input is among the parts."""
        return key in self._inputs

    def _load(self, parts: Iterable[Mapping[str, Any]]) -> None:
        self._entries = []
        self._calls: dict[int, _Entry] = {}  # the visible tool calls, by their index
        self._targets: dict[object, _Entry] = {}  # the newest entry for a result, by `_call_key`
        self._data: dict[object, _Entry] = {}  # by `_data_key`
        self._running_steps: dict[str, list[_Entry]] = {}  # by name, the newest one last
        self._inputs: dict[str, _Entry] = {}  # by key
        self._status: _Entry | None = None
        for part in parts:
            self._add(_copy(part))

    def _apply_delta(self, data: Mapping[str, Any]) -> None:
        if reasoning := data.get("reasoning"):
            self._open("reasoning", text="").append(reasoning)
        if details := data.get("reasoning_details"):
            self._open("reasoning", text="").fields.setdefault("details", []).extend(details)
        if text := data.get("text"):
            self._open("text", text="").append(text)
        for call in data.get("tool_calls") or ():
            self._apply_call(call)
        if annotations := data.get("annotations"):
            last = self._open("annotations", annotations=[])
            last.fields["annotations"].extend(annotations)

    def _open(self, kind: str, **fields: Any) -> _Entry:
        """Return the last part if it is of this kind, else a new one."""
        if self._entries and self._entries[-1].type == kind:
            return self._entries[-1]
        return self._add({"type": kind, **fields})

    def _add(self, fields: dict[str, Any]) -> _Entry:
        entry = _Entry(fields)
        self._entries.append(entry)
        match entry.type:
            case "tool_call":
                self._targets[_call_key(fields)] = entry
                if "index" in fields:
                    self._calls[fields["index"]] = entry
            case "tool_result":
                self._targets[_call_key(fields)] = entry
            case "data" if fields.get("id") is not None:
                self._data.setdefault(_data_key(fields), entry)
            case "step" if fields["state"] == "running":
                self._running_steps.setdefault(fields["name"], []).append(entry)
            case "input":
                self._inputs[fields["input"]] = entry
            case "status":
                self._status = entry
        return entry

    def _apply_call(self, delta: Mapping[str, Any]) -> None:
        """Apply a delta of a tool call, in OpenAI's form."""
        index, function = delta.get("index", 0), delta.get("function") or {}
        entry = self._calls.get(index)
        if entry is None:
            head = {"type": "tool_call", "index": index, "id": delta.get("id", "")}
            entry = self._add({**head, "name": "", "arguments": "", "run_by": "client"})
        if run_by := delta.get("run_by"):  # agents know only at the end which calls are not theirs
            entry.fields["run_by"] = run_by
        if extras := {name: delta[name] for name in delta if name not in _CALL_FIELDS}:
            entry.fields["extras"] = {**entry.fields.get("extras", {}), **extras}
        if name := function.get("name"):
            entry.fields["name"] += name
        if arguments := function.get("arguments"):
            entry.append(arguments)

    def _apply_part(self, part: dict[str, Any]) -> None:
        match part["type"]:
            case "tool_result":
                self._apply_result(part)
            case "status":
                self._remove_status()
                self._add(part)
            case "step_start":
                self._add({"type": "step", "name": part["name"], "state": "running"})
            case "step_end":
                self._end_step(part["name"])
            case "data":
                self._apply_data(part)
            case "tool_call":  # one that readers do not see
                self._add({"arguments": "{}", "run_by": "producer", **part})
            case _:
                self._add(part)

    def _remove_status(self) -> None:
        """Remove the newest status, and join the parts around it."""
        if self._status is None:
            return
        index = len(self._entries) - 1
        while self._entries[index] is not self._status:
            index -= 1  # over parts that are newer than the status, so each one only once
        del self._entries[index]
        if 0 < index < len(self._entries):
            before, after = self._entries[index - 1 : index + 1]
            if _can_join(before.type, after.type):
                before.join(after)
                del self._entries[index]

    def _apply_result(self, part: dict[str, Any]) -> None:
        target = self._targets.get(_call_key(part))
        if target is None:
            self._add({"is_error": False, **part})
        else:
            target.fields.update(result=part["result"], is_error=part.get("is_error", False))

    def _end_step(self, name: str) -> None:
        if running := self._running_steps.get(name):
            running.pop().fields["state"] = "done"
        else:
            self._add({"type": "step", "name": name, "state": "done"})

    def _apply_data(self, part: dict[str, Any]) -> None:
        if part.get("transient"):
            return
        earlier = None if part.get("id") is None else self._data.get(_data_key(part))
        if earlier is None:
            self._add(part)
        else:
            earlier.fields["value"] = part["value"]

    def _request_input(self, request: dict[str, Any]) -> None:
        entry = self._inputs.get(request["input"])
        if entry is None:
            self._add({"type": "input", **request, "state": "waiting"})
        else:
            entry.fields.update(request)

    def _end_input(self, data: Mapping[str, Any], end: Mapping[str, Any]) -> None:
        """End the wait for an input. Only its first end counts."""
        entry = self._inputs.get(data["input"])
        if entry is not None and entry.fields["state"] == "waiting":
            entry.fields.update(end)

    def _replace_text(self, text: str) -> None:
        indexes = [n for n, entry in enumerate(self._entries) if entry.type == "text"]
        index = indexes[-1] if indexes else len(self._entries)
        new = [_Entry({"type": "text", "text": text})] if text else []
        before = [entry for entry in self._entries[:index] if entry.type != "text"]
        self._set([*before, *new, *self._entries[index + len(indexes[-1:]) :]])

    def _set(self, entries: Iterable[_Entry]) -> None:
        """Set the parts, and join those that have become adjacent."""
        self._entries = []
        for entry in entries:
            last = self._entries[-1] if self._entries else None
            if last is not None and _can_join(last.type, entry.type):
                last.join(entry)
            else:
                self._entries.append(entry)

    def _close(self, state: str) -> None:
        """Close what is open at the end of the answer. state: of its steps."""
        for entry in self._entries:
            fields = entry.fields
            if entry.type == "step" and fields["state"] == "running":
                fields["state"] = state
            if entry.type == "input" and fields["state"] == "waiting":
                fields["state"] = "cancelled"
            is_open = entry.type == "tool_call" and "result" not in fields
            if is_open and fields["run_by"] == "producer" and state == "cancelled":
                fields["state"] = state
        self._running_steps.clear()


def _copy(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy that shares no list which this module extends."""
    copy = dict(part)
    for name in ("details", "annotations"):
        if isinstance(copy.get(name), list) and part["type"] in _JOINED_FIELDS:
            copy[name] = [*copy[name]]
    return copy


def _call_key(part: Mapping[str, Any]) -> object:
    """Return what a tool call and its result have in common. Both are visible, or both are not."""
    return part.get("id"), part.get("visible", True)


def _data_key(part: Mapping[str, Any]) -> object:
    """Return what data has in common with data that replaces it."""
    return part.get("name"), part.get("id"), part.get("visible", True)


def _can_join(kind: str, next_kind: str) -> bool:
    return kind == next_kind and kind in _JOINED_FIELDS


def _join(one: dict[str, Any], next_one: Mapping[str, Any]) -> None:
    """Append the content of a part to the part before it."""
    for name in _JOINED_FIELDS[one["type"]]:
        if name in next_one:
            one[name] = one[name] + next_one[name] if name in one else next_one[name]


def visible_parts(parts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts that readers see: without those that have `visible: false`."""
    visible: list[dict[str, Any]] = []
    for part in parts:
        if not part.get("visible", True):
            continue
        if visible and _can_join(visible[-1]["type"], part["type"]):
            _join(visible[-1], part)
        else:
            visible.append(dict(part))
    return visible
