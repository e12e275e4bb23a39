"""The distribution of the tests over the processes of pytest-xdist."""

from __future__ import annotations

import pytest

from tests.sharing import check_groups, order

UNGROUPED = "tests/core/test_values.py::test_a[x@y]"
GROUPED = "tests/interop/test_silence.py::test_a"


def test_ignored_groups_are_refused() -> None:
    """A test of a grouped folder without its group is an error that names the test."""
    check_groups([UNGROUPED, f"{GROUPED}@interop"])
    with pytest.raises(pytest.UsageError, match=r"no group in tests/interop/test_silence\.py"):
        check_groups([UNGROUPED, GROUPED])


def test_own_run_is_ordered_and_grouped(request: pytest.FixtureRequest) -> None:
    """The tests of this run are in the order of `order`, and xdist reports their groups."""
    items = request.session.items
    assert [order(item) for item in items] == sorted(order(item) for item in items)
    if getattr(request.config.option, "loadgroup", False):
        check_groups([item.nodeid for item in items])
    for item in items:
        if item.get_closest_marker("alone") is not None:
            group = item.get_closest_marker("xdist_group")
            assert group is not None
            assert group.args == ("alone",)
