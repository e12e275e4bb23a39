"""How the deltas of an answer are grouped in time does not change what a client gets.

A worker joins what an upstream sends within one flush. So a slow upstream, or a slow machine, gives
many small events, and a fast one few large ones; a reader that comes later begins with a snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.compat.openai_chat.text_completion import TextCompletionEncoder
from hub.core.event import encode_json
from hub.core.folded_parts import FoldedParts
from hub.core.part_events import to_event, to_events
from hub.core.parts import (
    Annotations,
    Part,
    Reasoning,
    ReasoningDetails,
    Replace,
    Source,
    Text,
    ToolCallDelta,
    ToolResult,
)
from hub.core.parts import Status as StatusText
from hub.engine.attempts.coalescing import MAX_RUNS, coalesce
from hub.ports.compat import AnswerEncoder
from tests.compat.history import DONE, ENCODERS, ID, RECORD, RESTARTED, STARTED, Event, encode_all
from tests.compat.readers import READERS, ReadAnswer, ReadCall, read_stream
from tests.properties import limit_examples

BUILDERS: Final[Mapping[str, Callable[[], AnswerEncoder]]] = {
    **ENCODERS,
    "completions": lambda: TextCompletionEncoder(RECORD),
}
RETRACTING: Final = {"ui", "ui with reset-step", "ag-ui", "ag-ui 1.0"}
"""The dialects that take back what they have sent, also text that a newer one only repeats."""
TEXT_ONLY: Final = {"completions", "cumulative", "envelope", "text"}
IN_TURN: Final = {"chat", "responses", "messages"}
"""The dialects in which one call follows the other: of a call that has ended, white space behind
its arguments is not sent.
"""
_ARGUMENTS: Final = (
    "{}",
    '{"a":1}',
    '{"b":{"c":"}"}}',
    '{"d":"\\"{"}',
    '[1,"}"]',
    '{"e":1} ',
    '{"cut',
)
_word = st.text("abc é\n", min_size=1, max_size=5)


class Script(NamedTuple):
    """An answer in its smallest parts, and what each client is to have of it."""

    parts: Sequence[Part]
    expected: ReadAnswer


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Draw an answer with texts, reasoning, sources and tool calls, also parallel ones."""
    answer, parts = ReadAnswer(), list[Part]()
    for kind in draw(st.lists(st.sampled_from(("text", "reasoning", "calls", "own", "source")))):
        match kind:
            case "text":
                answer.text += (text := draw(_word))
                parts += map(Text, text)
                if draw(st.integers(0, 5)) == 0:
                    parts.append(Replace(answer.text))
                if draw(st.booleans()):
                    answer.sources.append(url := f"https://{len(parts)}.example")
                    citation = {"type": "url_citation", "url_citation": {"url": url, "title": "t"}}
                    parts.append(Annotations([citation]))
            case "reasoning":
                answer.reasoning += (text := draw(_word))
                parts += map(Reasoning, text)
                if draw(st.booleans()):
                    signature = {"text": text, "signature": f"s{len(parts)}"}
                    form = {"format": "anthropic-claude-v1"}
                    answer.details.append({"type": "reasoning.text", **signature, **form})
                    parts.append(ReasoningDetails(answer.details[-1:]))
            case "calls":
                parts += _draw_calls(draw, answer)
            case "own":
                call = ReadCall(f"c{len(answer.calls)}", "own", "{}", result="done")
                index = len(answer.calls)
                answer.calls.append(call)
                parts.append(_start_call(index, call, run_by="producer"))
                parts.append(_add_arguments(index, "{}"))
                parts += [StatusText("busy"), ToolResult(call.id, "done")]
            case _:
                answer.sources.append(url := f"https://{len(parts)}.example")
                parts.append(Source(url))
    return Script(parts, answer)


def _draw_calls(draw: st.DrawFn, answer: ReadAnswer) -> Iterator[Part]:
    """Draw parallel calls of the client, whose arguments come alternately."""
    first = len(answer.calls)
    fragments: dict[int, list[str]] = {}
    for index in range(first, first + draw(st.integers(1, 3))):
        arguments = draw(st.sampled_from(_ARGUMENTS))
        answer.calls.append(ReadCall(f"c{index}", "f", arguments))
        cuts = sorted(draw(st.lists(st.integers(0, len(arguments)), max_size=3)))
        pairs = pairwise([0, *cuts, len(arguments)])
        fragments[index] = [arguments[start:end] for start, end in pairs]
        if draw(st.booleans()):  # the call before has begun to get its arguments
            yield _start_call(index, answer.calls[index])
        else:
            yield from _start_later(index, answer.calls[index], fragments)
    order = draw(st.permutations([index for index, each in fragments.items() for _ in each]))
    for index in order:
        yield _add_arguments(index, fragments[index].pop(0))


def _start_later(index: int, call: ReadCall, fragments: dict[int, list[str]]) -> Iterator[Part]:
    """Begin a call after a fragment of the one before."""
    if before := fragments.get(index - 1):
        yield _add_arguments(index - 1, before.pop(0))
    yield _start_call(index, call)


def _start_call(index: int, call: ReadCall, **fields: Any) -> Part:
    function = {"name": call.name, "arguments": ""}
    head = {"index": index, "id": call.id, "type": "function", **fields}
    return ToolCallDelta([{**head, "function": function}])


def _add_arguments(index: int, arguments: str) -> Part:
    return ToolCallDelta([{"index": index, "function": {"arguments": arguments}}])


def publish(parts: Sequence[Part], cuts: Sequence[int], max_runs: int | None) -> list[Event]:
    """Return the events of parts. cuts: the numbers of parts before which a flush begins."""
    flushes = [0, *sorted({min(cut, len(parts)) for cut in cuts}), len(parts)]
    events: list[Event] = []
    for start, end in pairwise(flushes):
        for part in coalesce(parts[start:end], max_runs=max_runs):
            name, fields = to_event(part)
            events.append((name, encode_json({"generation": ID, "i": len(events), **fields})))
    return events


def fold(events: Sequence[Event]) -> list[Event]:
    """Return the events that a reader gets who comes later."""
    folded = FoldedParts()
    for name, data in events:
        folded.apply(name, json.loads(data))
    return [(name, encode_json({"generation": ID, **f})) for name, f in to_events(folded.parts)]


def read(dialect: str, events: Sequence[Event]) -> ReadAnswer:
    stream = b"".join(encode_all(BUILDERS[dialect](), [STARTED, *events, DONE]))
    return read_stream(dialect, stream)


def visible(dialect: str, answer: ReadAnswer) -> ReadAnswer:
    """Return what a dialect can carry of an answer."""
    if dialect in TEXT_ONLY:
        return ReadAnswer(text=answer.text)
    calls = answer.calls
    if dialect in ("chat", "messages"):
        calls = [call for call in calls if call.result is None]
    details = [] if dialect == "responses" else answer.details
    return msgspec.structs.replace(answer, calls=calls, details=details)


def check(dialect: str, events: Sequence[Event], expected: ReadAnswer) -> None:
    """Fail if a client does not get this answer."""
    answer = read(dialect, events)
    assert not answer.is_failed
    answer.finish_reason = ""
    expected = visible(dialect, expected)
    if dialect in IN_TURN:
        answer, expected = without_white_space(answer), without_white_space(expected)
    assert answer == expected


def without_white_space(answer: ReadAnswer) -> ReadAnswer:
    """Return the answer without the white space behind the arguments of its calls."""
    calls = [
        msgspec.structs.replace(call, arguments=call.arguments.rstrip()) for call in answer.calls
    ]
    return msgspec.structs.replace(answer, calls=calls)


_cuts = st.lists(st.integers(0, 60), max_size=12)


@pytest.mark.parametrize("dialect", READERS)
@given(script=scripts(), cuts=_cuts, max_runs=st.sampled_from([None, 2, MAX_RUNS]))
@settings(max_examples=limit_examples(60), deadline=None)
def test_each_grouping_is_the_same_answer(
    dialect: str, script: Script, cuts: list[int], max_runs: int | None
) -> None:
    """Each part alone, some joined, all joined, and a snapshot: the client has the same answer."""
    parts, expected = script
    if dialect in RETRACTING:
        parts = [part for part in parts if not isinstance(part, Replace)]
    single = publish(parts, range(len(parts)), max_runs)
    for events in (single, publish(parts, cuts, max_runs), publish(parts, (), max_runs)):
        check(dialect, events, expected)
    check(dialect, fold(single), expected)


@pytest.mark.parametrize("dialect", READERS)
def test_white_space_behind_the_arguments_comes_late(dialect: str) -> None:
    """It may come when the next call has begun, and changes nothing for the client."""
    calls = [ReadCall("c0", "f", '{"e":1} '), ReadCall("c1", "f", "{}")]
    parts = [
        _start_call(0, calls[0]),
        _add_arguments(0, '{"e":1}'),
        _start_call(1, calls[1]),
        _add_arguments(0, " "),
        _add_arguments(1, "{}"),
    ]
    for cuts in (range(len(parts)), ()):
        check(dialect, publish(parts, cuts, None), ReadAnswer(calls=calls))


@pytest.mark.parametrize("dialect", READERS)
@given(script=scripts(), kept=st.integers(0, 60), cuts=_cuts, repeated_cuts=_cuts)
@settings(max_examples=limit_examples(60), deadline=None)
def test_repetition_may_be_grouped_otherwise(
    dialect: str, script: Script, kept: int, cuts: list[int], repeated_cuts: list[int]
) -> None:
    """A worker that begins again repeats the parts in other groups; the client has them once."""
    parts, expected = script
    if dialect in RETRACTING:
        parts = [part for part in parts if not isinstance(part, Replace)]
    else:  # calls that were sent cannot be taken back
        parts = [part for part in parts if not isinstance(part, ToolCallDelta | ToolResult)]
        expected = msgspec.structs.replace(expected, calls=[])
    if dialect.startswith("ag-ui"):  # sources and details are no messages, so they come again
        parts = [part for part in parts if not isinstance(part, Source | Annotations)]
        parts = [part for part in parts if not isinstance(part, ReasoningDetails)]
        expected = msgspec.structs.replace(expected, sources=[], details=[])
    events = publish(parts[:kept], cuts, None)
    check(dialect, [*events, RESTARTED, *publish(parts, repeated_cuts, None)], expected)


@given(script=scripts(), cuts=_cuts)
@settings(max_examples=limit_examples(60), deadline=None)
def test_each_grouping_has_the_same_snapshot(script: Script, cuts: list[int]) -> None:
    """A reader that comes later gets the same parts; where a rewritten text stands may differ."""
    parts = [part for part in script.parts if not isinstance(part, Replace)]
    assert fold(publish(parts, cuts, None)) == fold(publish(parts, range(len(parts)), None))
