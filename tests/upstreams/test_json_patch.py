"""JSON Patch (RFC 6902), as agents change their activities."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.upstreams.json_patch import PatchError, apply_patch


@pytest.mark.parametrize(
    ("document", "operations", "expected"),
    [  # RFC 6902, appendix A
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": ["x", "z"]}, [{"op": "add", "path": "/a/1", "value": "y"}], {"a": ["x", "y", "z"]}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/b"}], {"a": 1}),
        ({"a": ["x", "y"]}, [{"op": "remove", "path": "/a/0"}], {"a": ["y"]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a": {"x": 1}, "b": {}}, [{"op": "move", "from": "/a/x", "path": "/b/y"}],
         {"a": {}, "b": {"y": 1}}),
        ({"a": ["x", "y"]}, [{"op": "move", "from": "/a/0", "path": "/a/1"}], {"a": ["y", "x"]}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"a": 1}, [{"op": "add", "path": "/b", "value": {"c": {}}}], {"a": 1, "b": {"c": {}}}),
        ({"a": ["x"]}, [{"op": "add", "path": "/a/-", "value": "y"}], {"a": ["x", "y"]}),
        ({"a/b": 1, "m~n": 2}, [{"op": "copy", "from": "/a~1b", "path": "/m~0n"}],
         {"a/b": 1, "m~n": 1}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": [1]}], [1]),
        ({"a": 1}, [{"op": "remove", "path": ""}], None),
        ({"": 1}, [{"op": "replace", "path": "/", "value": 2}], {"": 2}),
    ],
)  # fmt: skip
def test_operations(document: Any, operations: list[Any], expected: Any) -> None:
    """Each operation changes a copy of the document."""
    before = repr(document)
    assert apply_patch(document, operations) == expected
    assert repr(document) == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/b"},
        {"op": "replace", "path": "/b", "value": 1},
        {"op": "add", "path": "/b/c", "value": 1},
        {"op": "add", "path": "/a/3", "value": 1},
        {"op": "add", "path": "/a/01", "value": 1},
        {"op": "replace", "path": "/a/-", "value": 1},
        {"op": "test", "path": "/a", "value": 1},
        {"op": "move", "from": "/a", "path": "/a/0"},
        {"op": "add", "path": "a", "value": 1},
        {"op": "add", "path": "/c"},
        {"op": "grow", "path": "/a"},
        {"op": "add"},
        "add",
    ],
)
def test_operations_that_do_not_fit(operation: Any) -> None:
    """An operation that is malformed or does not fit is an error, and nothing has changed."""
    document = {"a": [1, 2]}
    with pytest.raises(PatchError):
        apply_patch(document, [{"op": "add", "path": "/x", "value": 1}, operation])
    assert document == {"a": [1, 2]}


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
    ),
    max_size=4,
)


@given(_JSON, _OPERATIONS)
def test_any_patch(document: Any, operations: list[Any]) -> None:
    """A patch is applied or refused; nothing else is raised, and the document stays as it was."""
    before = repr(document)
    try:
        apply_patch(document, operations)
    except PatchError:
        pass
    assert repr(document) == before
