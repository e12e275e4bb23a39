"""Fixture: one `hub dev` for all examples."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.examples.sites import Sites, sites


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """The hub, which also runs the functions, and the pages' servers."""
    with sites(tmp_path_factory.mktemp("examples")) as started:
        yield started
