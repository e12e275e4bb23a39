"""docs/guides/nodes.md on a Valkey: two nodes and a worker with keys, as the page starts them."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Server
from tests.docs.conftest import Site
from tests.docs.snippets import DOCS, Places, run_shell, to_run
from tests.e2e.conftest import free_port


def test_commands(valkey: Server, site: Site, tmp_path: Path) -> None:
    """They end with 0 and show what the page says: an event and an answer cross the nodes."""
    ports = {port: free_port() for port in (8080, 8081, 8090, 8091, 8082)}
    places = Places(ports, {"redis://127.0.0.1:6379/0": valkey.url})
    env = {name: site.env[name] for name in ("QUICK", "PATH")}
    env["HUB_CLIENT__URL"] = f"http://127.0.0.1:{ports[8080]}"
    env["HUB_CLIENT__INTERNAL_URL"] = f"http://127.0.0.1:{ports[8081]}"
    run_shell(to_run(DOCS / "guides" / "nodes.md", "sh"), places, tmp_path, env)
