"""docs/clients.md is what the tests here hold."""

from __future__ import annotations

import pytest

from tests.interop.clients import ANSWER_CLIENTS, CLIENTS
from tests.interop.table import PAGE, page, without_given_versions


def test_page_is_what_the_tests_hold(request: pytest.FixtureRequest) -> None:
    """`scripts/test interop` writes it; what is committed must be the same."""
    written = page()
    if request.config.getoption("--keep-clients"):
        PAGE.write_text(written)
    assert without_given_versions(PAGE.read_text()) == without_given_versions(written)
    names = [*(client.name for client in CLIENTS), *(client.name for client in ANSWER_CLIENTS)]
    assert all(f"| {name} |" in written for name in names)


def test_versions_of_the_distribution_may_differ() -> None:
    """Those of the lock files may not."""
    (requests,) = (client for client in CLIENTS if client.program == "requests_lines")
    (okhttp,) = (client for client in CLIENTS if client.program == "OkHttpLines")
    written = page()
    other = written.replace(f"{okhttp.name} | {okhttp.version()} ", f"{okhttp.name} | 0.0 ")
    assert other != written
    assert without_given_versions(other) == without_given_versions(written)
    other = written.replace(f"{requests.name} | {requests.version()} ", f"{requests.name} | 0.0 ")
    assert without_given_versions(other) != without_given_versions(written)
