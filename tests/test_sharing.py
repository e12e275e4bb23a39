"""The distribution of the tests over the processes of pytest-xdist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.quick import read_costly
from tests.sharing import check_groups, group_tests, order

ROOT = Path(__file__).parents[1]
MAX_ID_CHARACTERS = 400
UNGROUPED = "tests/core/test_values.py::test_a[x@y]"
GROUPED = "tests/interop/test_silence.py::test_a"


def test_ignored_groups_are_refused() -> None:
    """A test of a grouped folder without its group is an error that names the test."""
    check_groups([UNGROUPED, f"{GROUPED}@interop"])
    with pytest.raises(pytest.UsageError, match=r"no group in tests/interop/test_silence\.py"):
        check_groups([UNGROUPED, GROUPED])


def test_id_with_an_address_is_refused(request: pytest.FixtureRequest) -> None:
    """All processes of xdist must find the same ids."""
    item = pytest.Function.from_parent(
        request.node.parent,
        name="test_a[<object at 0x7f4d>]",
        callobj=test_ignored_groups_are_refused,
    )
    with pytest.raises(pytest.UsageError, match=r"another id for .*test_a\[<object at 0x7f4d>\]"):
        group_tests([item])


def test_ids_are_short(request: pytest.FixtureRequest) -> None:
    """No test has the value of a long parameter as its id."""
    for item in request.session.items:
        assert len(item.nodeid) < MAX_ID_CHARACTERS, item.nodeid


def test_own_run_is_ordered_and_grouped(request: pytest.FixtureRequest) -> None:
    """The tests of this run are in the order of `order`, and xdist reports their groups."""
    items = request.session.items
    assert [order(item) for item in items] == sorted(order(item) for item in items)
    if getattr(request.config.option, "loadgroup", False):
        check_groups([item.nodeid for item in items])
    for item in items:
        if hasattr(getattr(item, "module", None), "sdks"):
            assert item.get_closest_marker("xdist_group") is not None, item.nodeid
        if item.get_closest_marker("alone") is not None:
            group = item.get_closest_marker("xdist_group")
            assert group is not None
            assert group.args == ("alone",)


def test_costly_tests_exist() -> None:
    """Each line of the list of costly tests names a function of the file, or of a suite that a
    class of the file inherits.
    """
    suites = "".join(path.read_text() for path in ROOT.glob("hub/testing/contracts/*.py"))
    suites += "".join(path.read_text() for path in ROOT.glob("tests/*/producer_contract.py"))
    for name in read_costly():
        file, *_, function = name.split("::")
        defined = (ROOT / file).read_text() + suites
        assert f"def {function}(" in defined or function == "runTest", name


@pytest.mark.slow
def test_quick_leaves_out_what_is_slow() -> None:
    """No folder with browsers and whole hubs, no `hub dev`, no test marked as slow, and one kind of
    server.
    """
    folders = ["tests/e2e", "tests/security/test_fuzz.py"]
    folders += ["tests/client/test_client.py", "tests/client/test_document.py"]
    folders += ["tests/backends/test_contracts.py", "tests/backends/test_topologies.py"]
    folders += ["tests/upstreams/test_framing.py", "tests/upstreams/test_function.py"]
    folders += ["tests/compat/test_messages_sdk.py"]
    completed = subprocess.run(
        [sys.executable, "-m", "pytest", "--quick", "--collect-only", "-q", "-n", "0", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
    )
    collected = completed.stdout
    assert "tests/security/test_fuzz.py::test_protocol_level" in collected
    assert "tests/client/test_client.py::" in collected
    assert "test_contracts.py::TestEvents::test_heads_of_channels[valkey]" in collected
    assert "tests/upstreams/test_framing.py::" in collected
    for left_out in (
        *("tests/e2e/", "test_ten_thousand", "test_document.py::test_readme_runs"),
        *("test_topologies.py", "[redis]", "OnAsyncio", "[asyncio]", "test_messages_sdk.py"),
        "tests/upstreams/test_function.py::test_lost_process",
    ):
        assert left_out not in collected
