"""Run docs/guides/deploy.md on Valkey: two nodes and a worker with API keys."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Server
from tests.docs.conftest import Site
from tests.docs.snippets import DOCS, Substitutions, run_shell, runnable_blocks
from tests.e2e.conftest import free_port


def test_commands(valkey: Server, site: Site, tmp_path: Path) -> None:
    """The commands print the expected output; an event and an answer pass between the nodes."""
    ports = {port: free_port() for port in (8080, 8081, 8090, 8091, 8082)}
    substitutions = Substitutions(ports, {"redis://127.0.0.1:6379/0": valkey.url})
    env = {name: site.env[name] for name in ("QUICK", "PATH")}
    env["HUB_CLIENT__URL"] = f"http://127.0.0.1:{ports[8080]}"
    env["HUB_CLIENT__INTERNAL_URL"] = f"http://127.0.0.1:{ports[8081]}"
    run_shell(runnable_blocks(DOCS / "guides" / "deploy.md", "sh"), substitutions, tmp_path, env)
