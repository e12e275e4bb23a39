"""`hub alive`: the health check of containers, whose images have no curl."""

from __future__ import annotations

import urllib.request
from typing import Final

import typer

_PATIENCE_SECONDS: Final = 2.0


def add_commands(app: typer.Typer) -> None:
    """Adds this module's command."""
    app.command()(alive)


def alive() -> None:
    """Whether the node or worker here answers.

    By the same settings as the process; exit code 0, or 1 when nothing answers in 2 seconds.

    Example: hub alive && echo yes
    """
    from hub.settings import load_settings

    settings = load_settings(None, {}).settings
    for port in (settings.internal.port, settings.worker.port):
        if port is not None and _answers(f"http://127.0.0.1:{port}/healthz"):
            return
    raise typer.Exit(1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE_SECONDS):  # noqa: S310 - it is http
            return True
    except OSError:
        return False
