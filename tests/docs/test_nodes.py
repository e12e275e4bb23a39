"""Run the pages that start their own nodes and workers, on Valkey and with API keys."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Server, missing
from tests.docs.conftest import Site
from tests.docs.snippets import DOCS, Substitutions, run_shell, runnable_blocks
from tests.e2e.conftest import free_port

PAGES = {"guides/deploy.md": "nginx", "start/tutorial.md": "nginx"}  # and the program that it needs


@pytest.mark.parametrize(("page", "program"), PAGES.items())
def test_commands(
    page: str, program: str | None, valkey: Server, site: Site, tmp_path: Path
) -> None:
    """The commands print the expected output; events and answers pass between the processes."""
    if program is not None and shutil.which(program, path=site.env["PATH"]) is None:
        missing(program)
    ports = {port: free_port() for port in (8079, 8080, 8081, 8082, 8090, 8091, 8000, 8001, 8443)}
    substitutions = Substitutions(ports, {"redis://127.0.0.1:6379/0": valkey.url})
    env = {name: site.env[name] for name in ("QUICK", "PATH")}
    env["HUB_CLIENT__URL"] = f"http://127.0.0.1:{ports[8080]}"
    env["HUB_CLIENT__INTERNAL_URL"] = f"http://127.0.0.1:{ports[8081]}"
    run_shell(runnable_blocks(DOCS / page, "sh"), substitutions, tmp_path, env)
