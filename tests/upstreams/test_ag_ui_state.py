"""Changes of the activities of an AG-UI run: JSON Patch (RFC 6902) of any form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.parts import Data
from hub.upstreams.ag_ui.state import RunState


def change(content: Any, *patches: list[Any]) -> list[Any]:
    """Return the content of an activity after each patch that fits."""
    state = RunState()
    state.set_activity("id", "plan", content)
    parts = [part for patch in patches for part in state.change_activity("id", patch)]
    assert all(isinstance(part, Data) and (part.name, part.id) == ("plan", "id") for part in parts)
    return [part.value for part in parts if isinstance(part, Data)]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/b"},
        {"op": "replace", "path": "/b", "value": 1},
        {"op": "add", "path": "/b/c", "value": 1},
        {"op": "add", "path": "/a/01", "value": 1},
        {"op": "replace", "path": "/a/-", "value": 1},
        {"op": "test", "path": "/a/0", "value": True},
        {"op": "move", "from": "/a", "path": "/a/0"},
        {"op": "add", "path": "a", "value": 1},
        {"op": "add", "path": "/c"},
        {"op": "grow", "path": "/a"},
        {"op": "add"},
        "add",
    ],
)
def test_patch_that_does_not_fit(operation: Any) -> None:
    """None of its operations counts, and the next patch changes what was there before."""
    add = {"op": "add", "path": "/x", "value": 1}
    document = {"a": [1, 2]}
    assert change(document, [add, operation], [add]) == [{"a": [1, 2], "x": 1}]
    assert document == {"a": [1, 2]}


def test_patch_that_copies_too_much() -> None:
    """A short patch cannot make a content of any size."""
    double = {"op": "copy", "from": "", "path": "/a"}
    assert change({}, [double] * 40, [double]) == [{"a": {}}]


_JSON = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["/a", "/0", "add", "-"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=6,
)
_OPERATIONS = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"])},
        optional={
            "path": st.sampled_from(["", "/a", "/a/b", "/0", "/-", "/a/0"]) | _JSON,
            "from": st.sampled_from(["", "/a", "/b", "/a/b", "/0"]) | _JSON,
            "value": _JSON,
        },
    )
    | _JSON,
    max_size=4,
)


@given(_JSON, _OPERATIONS)
def test_any_patch(content: Any, operations: list[Any]) -> None:
    """A patch is applied or passed over; nothing is raised, and parts do not change afterwards."""
    before = repr(content)
    change(content, operations)
    assert repr(content) == before
