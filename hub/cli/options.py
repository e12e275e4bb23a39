"""Options that several commands share, and the exception for a command that failed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from hub.settings import Loaded

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The settings file.", metavar="FILE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one value per line.")]
AppOption = Annotated[
    str | None,
    typer.Option(
        "--app",
        help="The functions that produce answers: the module and the name of their App, or of one "
        "function.",
        metavar="MODULE:NAME",
    ),
]

_printed_warnings: Final[set[str]] = set()


class CommandFailed(Exception):
    """The command did not do what the user asked for. The message says why (exit code 1)."""


def load(config: Path | None, flags: Mapping[str, Any] | None = None) -> Loaded:
    """Load the settings, and print each warning once. Raise OperatorError."""
    from hub.settings import load_settings

    loaded = load_settings(config, flags)
    for warning in loaded.warnings:
        if warning not in _printed_warnings:
            _printed_warnings.add(warning)
            print(f"hub: warning: {warning}", file=sys.stderr, flush=True)
    return loaded


def given_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that the user gave, as overrides of settings: those that are not None."""
    return {setting: value for setting, value in flags.items() if value is not None}


def split_list(text: str) -> list[str]:
    """Split `a,b` into its parts; an empty text has none."""
    return [part for part in text.split(",") if part]
