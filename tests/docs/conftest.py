"""Fixtures: one `hub dev` for all documents and examples, and a browser."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.chromium import open_chromium
from tests.docs.built_site import build, copy_documents, serve
from tests.docs.snippets import Substitutions
from tests.e2e.conftest import Dev, free_port
from tests.forked_hub import hub_program


class Site:
    """A running hub for the documents, and free ports for the programs that they start."""

    def __init__(self, dev: Dev, backend_port: int, programs: Path) -> None:
        self.dev = dev
        self.backend_port = backend_port
        self.substitutions = Substitutions(
            {8080: dev.port, 8081: dev.internal_port, 8082: free_port(), 8000: backend_port}
        )
        self.env = {
            "QUICK": str(programs),
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
            "HUB_CLIENT__URL": dev.url,
            "HUB_CLIENT__INTERNAL_URL": dev.internal_url,
            "HUB_INTERNAL__PORT": str(dev.internal_port),
        }


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run `hub dev`; pages from http://localhost:<backend_port> may call it."""
    port = free_port()
    origins = {"HUB_PUBLIC__ALLOWED_ORIGINS": f'["http://localhost:{port}"]'}
    folder = tmp_path_factory.mktemp("dev")
    with ExitStack() as stack:
        dev = Dev(folder, "--tokens-per-second", "200", env=origins)
        stack.callback(dev.stop)
        yield Site(dev.wait_until_ready(), port, Path(hub_program()).parent)


@pytest.fixture(scope="session")
def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the documentation site. A problem such as a dead link fails the build."""
    repository = copy_documents(tmp_path_factory.mktemp("repository"))
    completed = build(repository)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return repository / ".cache" / "docs" / "site"


@pytest.fixture(scope="session")
def site_url(site_folder: Path) -> Iterator[str]:
    """Serve the documentation site; return its URL, which ends with a slash."""
    with serve(site_folder) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """Start the Chromium of the distribution without a window."""
    async with open_chromium() as browser:
        yield browser
