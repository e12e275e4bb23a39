"""Joins the stream parts of one flush, so that a flood of tiny pieces becomes a few events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from hub.core.parts import (
    Annotations,
    Finished,
    Part,
    Reasoning,
    ReasoningDetails,
    Replace,
    Text,
    ToolCallDelta,
    Usage,
)

MAX_RUNS: Final = 32
_ORDER: Final = (Reasoning, ReasoningDetails, Text, ToolCallDelta, Annotations)
"""Of the kinds of a flood: details follow their reasoning, and sources their text."""
_JOINED: Final = (*_ORDER, Replace)
_SILENT: Final = (Usage, Finished)  # parts without an event of their own: they separate nothing


def join_text(parts: Sequence[object]) -> str | None:
    """Return the text of parts that are all text, None if there are others or no parts."""
    texts = [part.text for part in parts if type(part) is Text]
    return "".join(texts) if texts and len(texts) == len(parts) else None


def coalesce(parts: Sequence[Part], *, max_runs: int | None = MAX_RUNS) -> Iterator[Part]:
    """Yield the parts of one flush, neighbours of the same kind as one part.

    The order of the kinds is kept. max_runs: if an upstream alternates between kinds more often
    within one flush, everything of a kind becomes one part; None means never, and so do parts of
    other kinds than upstreams yield.
    """
    runs: list[list[Part]] = []
    for part in parts:
        if isinstance(part, _SILENT):
            continue
        if runs and is_joined(runs[-1][0], part):
            runs[-1].append(part)
        else:
            runs.append([part])
    is_flood = max_runs is not None and len(runs) > max_runs
    if is_flood and all(isinstance(run[0], _JOINED) for run in runs):
        by_kind: dict[type, list[Part]] = {}
        for run in runs:
            by_kind.setdefault(_kind(run[0]), []).extend(run)
        runs = [by_kind[kind] for kind in _ORDER if kind in by_kind]
    for run in runs:
        yield run[0] if len(run) == 1 else _join(run)
    yield from (part for part in parts if isinstance(part, _SILENT))


def is_joined(part: Part, following: Part) -> bool:
    """Return whether `coalesce` makes one part of two neighbours."""
    return isinstance(following, _JOINED) and _kind(part) == _kind(following)


def _kind(part: Part) -> type:
    return Text if isinstance(part, Replace) else type(part)


def _join(parts: Sequence[Part]) -> Part:
    """Return one part for parts of the same kind."""
    match parts[0]:
        case Reasoning():
            return Reasoning("".join(p.text for p in parts if isinstance(p, Reasoning)))
        case ReasoningDetails():
            details = [p.details for p in parts if isinstance(p, ReasoningDetails)]
            return ReasoningDetails([*chain.from_iterable(details)])
        case Annotations():
            annotations = [p.annotations for p in parts if isinstance(p, Annotations)]
            return Annotations([*chain.from_iterable(annotations)])
        case ToolCallDelta():
            calls = [p.calls for p in parts if isinstance(p, ToolCallDelta)]
            return ToolCallDelta(_join_calls([*chain.from_iterable(calls)]))
        case _:
            return _join_texts(parts)


def _join_texts(parts: Sequence[Part]) -> Part:
    """Return the text; a version that replaces the whole text drops what came before it."""
    texts: list[str] = []
    is_replaced = False
    for part in parts:
        if isinstance(part, Replace):
            texts, is_replaced = [part.text], True
        elif isinstance(part, Text):
            texts.append(part.text)
    return Replace("".join(texts)) if is_replaced else Text("".join(texts))


def _join_calls(deltas: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one delta for each tool call, in the normal form of core/tool_calls.py."""
    joined: dict[int, dict[str, Any]] = {}
    arguments: dict[int, list[str]] = {}
    for delta in deltas:
        index = delta["index"]
        known = joined.get(index)
        if known is None:
            joined[index], arguments[index] = delta, [delta["function"]["arguments"]]
        else:
            arguments[index].append(delta["function"]["arguments"])
            if len(delta) > 2:  # more than the index and the function
                joined[index] = {**known, **delta, "function": known["function"]}
    return [
        {**delta, "function": {**delta["function"], "arguments": "".join(arguments[index])}}
        for index, delta in joined.items()
    ]
