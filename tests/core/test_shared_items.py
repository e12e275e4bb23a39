"""The state of a user of the items that a topic or `all` keeps once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hub.core.inbox import ChangeTarget, ItemChange, ItemFlags, ItemId
from hub.core.shared_items import SharedEntry, encode_shared_state, parse_shared_state

CHANGES = [change for change in ItemChange if change is not ItemChange.EXPIRE]
TARGETS = st.one_of(
    st.builds(lambda n: {"items": n}, st.lists(st.integers(1, 12), max_size=3)),
    st.builds(lambda n: {"up_to": n}, st.integers(1, 12)),
    st.builds(lambda name: {"category": name}, st.sampled_from("ab")),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(["", "a", "b"])),
        st.tuples(st.just("remove"), st.integers(0, 11)),
        st.tuples(st.sampled_from(CHANGES), TARGETS),
    ),
    max_size=30,
)


def _id(n: int) -> ItemId:
    return ItemId(n, 0, "*")


def _target(fields: dict[str, Any]) -> ChangeTarget:
    ids = {
        name: [_id(n) for n in value] if name == "items" else _id(value)
        for name, value in fields.items()
        if name != "category"
    }
    return ChangeTarget(**{**fields, **ids})


@given(STEPS)
def test_state_is_that_of_single_items(steps: list[Any]) -> None:
    """Watermarks and exceptions are the same as the flags of each item, whatever happens to them
    in whatever order, and a state stays as small as the list of items.
    """
    text, newest = "", 0
    model: dict[ItemId, tuple[str, ItemFlags | None]] = {}  # category and flags of what exists
    for step, argument in steps:
        if step == "add":
            newest += 1
            model[_id(newest)] = argument, ItemFlags()
        elif step == "remove":
            model.pop(_id(argument), None)
        else:
            target = _target(argument)
            expected = []
            for item, (category, flags) in model.items():
                if flags is None or not target.has(item, category):
                    continue
                after = None if step.removes else step.apply(flags)
                if after != flags:
                    expected.append(item)
                    model[item] = category, after
            entries = [SharedEntry(item, category) for item, (category, _) in model.items()]
            state, changed = parse_shared_state(text).apply(step, target, entries)
            assert changed == expected
            text = encode_shared_state(state) if changed else text
        state = parse_shared_state(text)
        assert {item: state.flags(item) for item in model} == {
            item: flags for item, (_, flags) in model.items()
        }
        assert len(text) < 40 + 20 * newest


def test_reading_everything_is_one_watermark() -> None:
    """Nothing is stored for each item."""
    entries = [SharedEntry(_id(n), "") for n in range(1, 200)]
    target = ChangeTarget(up_to=_id(199))
    state, changed = parse_shared_state("").apply(ItemChange.READ, target, entries)
    assert len(changed) == 199
    assert encode_shared_state(state) == "r=199-0 s=199-0"
