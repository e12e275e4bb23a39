"""Check that docs/clients/tested.md is up to date."""

from __future__ import annotations

import pytest

from tests.interop.clients import ANSWER_CLIENTS, CLIENTS
from tests.interop.table import PAGE, page, remove_distribution_versions
from tests.interop.turn_clients import TURN_CLIENTS


def test_page_is_up_to_date(request: pytest.FixtureRequest) -> None:
    """The committed page equals the page that `scripts/test interop` writes."""
    written = page()
    if request.config.getoption("--keep-clients"):
        PAGE.write_text(written)
    assert remove_distribution_versions(PAGE.read_text()) == remove_distribution_versions(written)
    names = [*(client.name for client in CLIENTS), *(client.name for client in ANSWER_CLIENTS)]
    names += [client.name for client in TURN_CLIENTS]
    assert all(f"| {name} |" in written for name in names)


def test_versions_of_the_distribution_may_differ() -> None:
    """Versions of the distribution are ignored; versions of the lock files are compared."""
    (requests,) = (client for client in CLIENTS if client.program == "requests_lines")
    (okhttp,) = (client for client in CLIENTS if client.program == "OkHttpLines")
    written = page()
    other = written.replace(f"{okhttp.name} | {okhttp.version()} ", f"{okhttp.name} | 0.0 ")
    assert other != written
    assert remove_distribution_versions(other) == remove_distribution_versions(written)
    other = written.replace(f"{requests.name} | {requests.version()} ", f"{requests.name} | 0.0 ")
    assert remove_distribution_versions(other) != remove_distribution_versions(written)
