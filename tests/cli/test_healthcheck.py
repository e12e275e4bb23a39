"""`hub healthcheck` finds the listener of the settings."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import typer

from hub.cli.healthcheck import healthcheck
from hub.http.applications import build_worker
from hub.http.server import ListenAddress, listen, tls_context
from tests.certificates import write_certificate
from tests.topologies import free_ports


def exit_code(config: Path | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        healthcheck(config)
    except typer.Exit as end:
        return end.exit_code
    return 0


@pytest.mark.parametrize(
    "where", ["port", "proxied environment", "another address", "socket", "tls", "socket with tls"]
)
async def test_healthcheck_finds_the_listener(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works on any address, a unix socket and with TLS, and ignores a proxy for LLMs."""
    (port,) = free_ports(1)
    host = "127.0.0.2" if where == "another address" else "127.0.0.1"
    env = {"HUB_INTERNAL__PORT": str(port), "HUB_INTERNAL__HOST": host}
    path, tls = None, None
    if where == "proxied environment":
        env |= dict.fromkeys(("http_proxy", "HTTP_PROXY"), "http://127.0.0.1:1")
        env |= dict.fromkeys(("no_proxy", "NO_PROXY"), "")
    if "socket" in where:
        env["HUB_INTERNAL__SOCKET"] = path = str(tmp_path / "hub.sock")
    if "tls" in where:
        cert, key = write_certificate(tmp_path)
        env |= {"HUB_INTERNAL__TLS_CERT": cert, "HUB_INTERNAL__TLS_KEY": key}
        tls = tls_context(cert, key, "internal.tls_cert")

    for name, value in env.items():
        monkeypatch.setenv(name, value)

    async def ping() -> None:
        """Do nothing: the broker is available."""

    app = build_worker(ping, lambda: "running", lambda: b"")
    address = ListenAddress(host, port, "internal.port", path=path, tls=tls)
    async with listen(app, address, cancel_handlers=False):
        assert await asyncio.to_thread(exit_code) == 0
    assert await asyncio.to_thread(exit_code) == 1


async def test_healthcheck_reads_the_file_of_the_process(tmp_path: Path) -> None:
    """With --config it finds the listener that the settings file names."""
    (port,) = free_ports(1)
    file = tmp_path / "hub.toml"
    file.write_text(f"[internal]\nport = {port}\n")

    async def ping() -> None:
        """Do nothing: the broker is available."""

    app = build_worker(ping, lambda: "running", lambda: b"")
    address = ListenAddress("127.0.0.1", port, "internal.port")
    async with listen(app, address, cancel_handlers=False):
        assert await asyncio.to_thread(exit_code, file) == 0
    assert await asyncio.to_thread(exit_code, file) == 1
