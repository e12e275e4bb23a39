"""The commands that look: config and doctor."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The settings file.", metavar="FILE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(config)
    app.command()(doctor)


def config(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The effective settings, secrets masked.

    And where each came from: a default, the file, a variable.

    Example: HUB_PUBLIC__PORT=9000 hub config --json
    """
    from hub.settings import load_settings

    loaded = load_settings(config)
    rows = [
        {"setting": key, "value": value, "from": loaded.origins.get(key, "default")}
        for key, value in _flat(loaded.settings.model_dump(mode="json"), "")
    ]
    if as_json:
        print(json.dumps(rows))
        return
    width = max(len(row["setting"]) for row in rows)
    values = max(len(_shown(row["value"])) for row in rows)
    for row in rows:
        line = f"{row['setting']:{width}}  {_shown(row['value']):{values}}  {row['from']}"
        bold = sys.stdout.isatty() and row["from"] != "default"
        print(typer.style(line, bold=True) if bold else line)


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Checks the set-up and says what to do.

    Keys, broker, ports, upstreams. Exit code 0, 2 (configuration) or 3 (broker).

    Example: hub doctor --config config/production.toml
    """
    from hub import logs
    from hub.cli.examination import examine
    from hub.settings import load_settings

    logs.configure("error", "auto", "doctor")
    findings = asyncio.run(examine(load_settings(config).settings))
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    for finding in findings:
        if as_json:
            print(
                json.dumps(
                    {
                        "check": finding.check,
                        "verdict": finding.verdict,
                        "found": finding.found,
                        "advice": finding.advice,
                    }
                )
            )
            continue
        mark = f"{finding.verdict:4}"
        if sys.stdout.isatty():
            mark = typer.style(mark, fg=colours[finding.verdict])
        print(f"{mark}  {finding.check}: {finding.found}")
        if finding.advice:
            print(f"      → {finding.advice}")
    failed = [finding for finding in findings if finding.verdict == "fail"]
    if failed:
        raise typer.Exit(3 if any(finding.check == "broker" for finding in failed) else 2)


def _flat(table: dict[str, Any], above: str) -> list[tuple[str, Any]]:
    from hub.settings import mask_credentials

    rows: list[tuple[str, Any]] = []
    for name, value in table.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{above}{name}.")
        else:
            shown = mask_credentials(value) if isinstance(value, str) else value
            rows.append((f"{above}{name}", shown))
    return rows


def _shown(value: Any) -> str:
    return "off" if value is None else value if isinstance(value, str) else json.dumps(value)
