"""Tool calls leave in one form, however the server sends them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.tool_calls import MAX_TOOL_CALLS, ToolCallAssembler, UnnamedToolCall


def delta(index: Any = None, id_: Any = None, name: Any = "", args: Any = "", **more: Any) -> Any:
    """Return a delta of a call as a server sends it."""
    call: dict[str, Any] = {
        "function": {"name": name, "arguments": args} if name else {"arguments": args},
        **more,
    }
    if index is not None:
        call["index"] = index
    if id_ is not None:
        call["id"] = id_
    return call


def normalise(
    *batches: Sequence[Any], assembler: ToolCallAssembler | None = None
) -> list[dict[str, Any]]:
    """Return the deltas in the normal form."""
    assembler = assembler or ToolCallAssembler()
    sent = [call for batch in batches for call in assembler.feed(batch)]
    return sent + assembler.finish()


def fold(deltas: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Join the deltas as strict clients do: id, name and arguments of each call.

    Check the normal form: the first delta of a call has id, type and name, and no other has.
    """
    calls: list[dict[str, str]] = []
    for each in deltas:
        if each["index"] == len(calls):
            assert each["type"] == "function"
            assert each["id"]
            assert each["function"]["name"]
            calls.append({"id": each["id"], "name": each["function"]["name"], "arguments": ""})
        else:
            assert each.keys().isdisjoint({"id", "type"})
            assert each["function"].keys() == {"arguments"}
        calls[each["index"]]["arguments"] += each["function"]["arguments"]
    ids = [call["id"] for call in calls]
    assert len(set(ids)) == len(ids)
    return [(call["id"], call["name"], call["arguments"]) for call in calls]


def calls_of(*deltas: Any) -> list[tuple[str, str]]:
    """Return the name and the arguments of each call; every delta arrives alone."""
    return [(name, arguments) for _, name, arguments in fold(normalise(*[[d] for d in deltas]))]


@pytest.mark.parametrize(
    ("deltas", "calls"),
    [
        # the form of OpenAI
        (
            [delta(0, "a", "f"), delta(0, args="{}"), delta(1, "b", "g"), delta(1, args="{}")],
            [("f", "{}"), ("g", "{}")],
        ),
        # index 0 for every call, the id only once
        (
            [delta(0, "a", "f"), delta(0, args="{}"), delta(0, "b", "g"), delta(0, args="{}")],
            [("f", "{}"), ("g", "{}")],
        ),
        # no index, the id only once
        (
            [delta(None, "a", "f"), delta(args="{}"), delta(None, "b", "f"), delta(args="[]")],
            [("f", "{}"), ("f", "[]")],
        ),
        # the id in every delta, interleaved, index 0
        (
            [
                delta(0, "a", "f"),
                delta(0, "b", "f"),
                delta(0, "a", args="1"),
                delta(0, "b", args="2"),
            ],
            [("f", "1"), ("f", "2")],
        ),
        # whole calls at once, without ids, index 0
        (
            [delta(0, None, "f", "{}"), delta(0, None, "f", "{}"), delta(0, None, "g", "{}")],
            [("f", "{}"), ("f", "{}"), ("g", "{}")],
        ),
        # the same with objects
        ([delta(0, None, "f", {}), delta(0, None, "g", {"a": 1})], [("f", "{}"), ("g", '{"a":1}')]),
        # without ids, with types
        (
            [delta(0, None, "f", type="function"), delta(0, None, "g", type="function")],
            [("f", "{}"), ("g", "{}")],
        ),
        # the name repeated in every delta
        ([delta(0, None, "f", '{"a"'), delta(0, None, "f", ":1}")], [("f", '{"a":1}')]),
        ([delta(0, None, "f"), delta(0, None, "f"), delta(0, None, "f", "{}")], [("f", "{}")]),
        # the name in fragments, the id once, always or never
        ([delta(0, "a", "get_"), delta(0, None, "it"), delta(0, args="{}")], [("get_it", "{}")]),
        ([delta(0, "a", "get_"), delta(0, "a", "it"), delta(0, args="{}")], [("get_it", "{}")]),
        ([delta(None, None, "get_"), delta(None, None, "it", "{}")], [("get_it", "{}")]),
        # the name so far in every delta
        ([delta(0, "a", "get_"), delta(0, "a", "get_it"), delta(0, args="{}")], [("get_it", "{}")]),
        # another id in every delta of one call
        ([delta(0, "a", "f"), delta(0, "x", args="["), delta(0, "y", args="]")], [("f", "[]")]),
        # the same id for all calls
        ([delta(0, "a", "f", "{}"), delta(1, "a", "g"), delta(1, "a", args="[]")],
         [("f", "{}"), ("g", "[]")]),
        ([delta(None, "a", "f", '{"a":1}'), delta(None, "a", "f", '{"a":2}')],
         [("f", '{"a":1}'), ("f", '{"a":2}')]),
        # a last delta that repeats the whole call
        ([delta(0, "a", "f", '{"a"'), delta(0, args=":1}"), delta(0, "a", "f", '{"a":1}')],
         [("f", '{"a":1}')]),
        # indexes that do not start at 0, and that are texts
        ([delta(3, "a", "f"), delta(7, "b", "g"), delta(3, args="{}")], [("f", "{}"), ("g", "{}")]),
        ([delta("0", "a", "f"), delta("0", args="{}")], [("f", "{}")]),
        # the id, or the name, later than the arguments
        ([delta(0, None, "f"), delta(0, "a", "f", "{}")], [("f", "{}")]),
        ([delta(0, "a", args='{"a"'), delta(0, None, "f", ":1}")], [("f", '{"a":1}')]),
        # no arguments at all
        ([delta(0, "a", "f", None), delta(1, "b", "g", " ")], [("f", "{}"), ("g", " {}")]),
        # an object, then the same as text
        ([delta(0, "a", "f", {"a": 1}), delta(0, args='{"a":1}')], [("f", '{"a":1}')]),
        # a server that parses each token
        ([delta(0, "a", "f", '{"a":'), delta(0, args=0), delta(0, args=",")], [("f", '{"a":0,')]),
        ([delta(0, "a", "f", '{"a":'), delta(0, args=False)], [("f", '{"a":false')]),
        # everything in the call itself
        ([{"index": 0, "name": "f", "parameters": {"a": 1}}], [("f", '{"a":1}')]),
    ],
)  # fmt: skip
def test_one_form(deltas: list[Any], calls: list[tuple[str, str]]) -> None:
    """Each call has its name once and all its arguments."""
    assert calls_of(*deltas) == calls


def test_calls_of_one_chunk() -> None:
    """Calls that arrive together are different ones, also without ids, types and arguments."""
    together = [delta(0, None, "f"), delta(0, None, "f"), delta(0, None, "g")]
    assert [name for _, name, _ in fold(normalise(together))] == ["f", "f", "g"]


def test_fragmented_names_of_parallel_calls() -> None:
    """Names grow until arguments come, although other calls begin meanwhile."""
    batches = [
        [delta(0, "a", "get_"), delta(1, "b", "set_"), delta(2, "c", "now")],
        [delta(0, None, "weather"), delta(1, None, "alarm")],
        [delta(0, args="{"), delta(1, args="[")],
        [delta(0, args="}"), delta(1, args="]")],
    ]
    calls = [("get_weather", "{}"), ("set_alarm", "[]"), ("now", "{}")]
    for each in (batches, [[d] for batch in batches for d in batch]):
        assert [(name, args) for _, name, args in fold(normalise(*each))] == calls


def test_order_of_calls_without_arguments() -> None:
    """A call without arguments keeps its place in front of one that has some."""
    assert calls_of(delta(0, "a", "now"), delta(1, "b", "f", "{}"), delta(2, "c", "now")) == [
        *[("now", "{}"), ("f", "{}"), ("now", "{}")]
    ]


def test_equal_calls_are_different_ones() -> None:
    """Calls of the same form that arrive together are never taken for one another."""
    together = [delta(n, f"c{n}", "f") for n in range(3)]
    later = [delta(n, None, "f", f"[{n}]") for n in range(3)]
    assert [args for _, _, args in fold(normalise(together, later))] == ["[0]", "[1]", "[2]"]


def test_calls_beyond_the_limit() -> None:
    """More calls than an answer may have are not kept."""
    assembler = ToolCallAssembler()
    assembler.feed([delta(n, f"c{n}", "f", "{}") for n in range(50 * MAX_TOOL_CALLS)])
    assert assembler.count == MAX_TOOL_CALLS + 1


def test_ids() -> None:
    """The server's id is kept, also as a number; without one there is a new one."""
    sent = fold(
        normalise([delta(0, "a", "f"), delta(1, 7, "g"), delta(2, "", "h"), delta(3, None, "i")])
    )
    assert [id_ for id_, *_ in sent[:2]] == ["a", "7"]
    assert all(id_.startswith("call_") for id_, *_ in sent[2:])


def test_whole_names_are_sent_at_once() -> None:
    """In a format without split names a call is sent as soon as it begins."""
    assembler = ToolCallAssembler(has_whole_names=True)
    assert len(assembler.feed([delta(0, "a", "f", {})])) == 1
    assert assembler.feed([delta(0, args="")]) == []
    assert [each["function"] for each in assembler.finish()] == [{"arguments": "{}"}]


def test_other_fields_are_kept() -> None:
    """A thought signature is sent with the first delta, or when it comes, and only once."""
    signed = {"extra_content": {"google": {"thought_signature": "s"}}}
    first, *others = normalise(
        [delta(0, "a", "f", "{}", **signed)], [delta(0, **signed)], [delta(0, late=1)]
    )
    assert first["extra_content"] == signed["extra_content"]
    assert others == [{"index": 0, "late": 1, "function": {"arguments": ""}}]


def test_call_without_a_name() -> None:
    """A call that has nothing is dropped; one that has arguments fails the answer."""
    assert normalise([{}, {"function": 5}, {"id": 7, "index": "x"}]) == []
    with pytest.raises(UnnamedToolCall):
        normalise([delta(0, "a", args="{}")])


_NAMES = st.sampled_from(["look", "get_weather", "f", "rename_folder"])
_ARGUMENTS = st.dictionaries(
    st.sampled_from("abc"), st.integers() | st.text(max_size=5), max_size=3
)


def _split(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if text[a:b]]


@st.composite
def calls_and_deltas(draw: st.DrawFn) -> tuple[list[Any], list[list[Any]]]:
    """Return calls (names and arguments), and deltas of them in some server's form."""
    calls = draw(st.lists(st.tuples(_NAMES, _ARGUMENTS), min_size=1, max_size=4))
    has_ids, id_always, name_always = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    is_whole = draw(st.booleans()) or not has_ids
    index_form = draw(st.sampled_from(["right", "zero", "none", "text"]))
    if not (has_ids or is_whole):
        index_form = "right"
    batches: list[list[Any]] = []
    for n, (name, arguments) in enumerate(calls):
        index = {"right": n, "zero": 0, "none": None, "text": str(n)}[index_form]
        if is_whole:
            value = draw(st.sampled_from([arguments, json.dumps(arguments)]))
            chunks: list[Any] = [value]
        else:
            chunks = _split(draw, json.dumps(arguments))
        for m, chunk in enumerate(chunks):
            each = delta(index, None, name if m == 0 or name_always else "", chunk)
            if has_ids and (m == 0 or id_always):
                each["id"] = f"c{n}"
            if m == 0 and draw(st.booleans()):
                each["type"] = "function"
            batches.append([each])
    if draw(st.booleans()):
        batches = [[each for batch in batches for each in batch]]
    return calls, batches


@given(calls_and_deltas())
def test_any_form(drawn: tuple[list[Any], list[list[Any]]]) -> None:
    """Every form that servers send gives the same calls in the normal form."""
    calls, batches = drawn
    sent = fold(normalise(*batches))
    assert [(name, json.loads(arguments)) for _, name, arguments in sent] == calls


def test_name_in_every_piece() -> None:
    """A name in each of many chunks is read without looking at all arguments each time."""

    def chunks() -> Iterator[list[Any]]:
        yield [delta(0, "a", "f", '{"a":"\\"')]
        for _ in range(20_000):
            yield [delta(0, None, "f", "x}")]
        yield [delta(0, None, "f", '"}')]

    (call,) = fold(normalise(*chunks()))
    assert len(call[2]) == 40_010
