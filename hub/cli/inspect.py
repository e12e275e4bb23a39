"""The commands that look: config, doctor and openapi."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from hub.cli.doctor import CheckResult
    from hub.settings import Settings

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The settings file.", metavar="FILE")
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]

_TOKEN_SECONDS: Final = 600


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(config)
    app.command()(doctor)
    app.command()(openapi)


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


def doctor(
    url: Annotated[
        str | None, typer.Option("--url", help="Look from outside: the URL that clients have.")
    ] = None,
    token: Annotated[str | None, typer.Option("--token", help="A user's token, for --url.")] = None,
    seconds: Annotated[float, typer.Option(help="How long --url looks at streams.", min=1)] = 20,
    patience: Annotated[
        float, typer.Option(help="What is so many seconds late is held back.", min=0.1)
    ] = 4,
    internal_url: Annotated[
        str | None, typer.Option("--internal-url", help="Where --url may publish test events.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The API key for that.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Checks the set-up and says what to do.

    Keys, broker, limits of the machine, ports, upstreams; with --url the proxy instead. Exit code
    0, 2 (something must be mended) or 3 (the broker).

    Example: hub doctor --url https://hub.example.com
    """
    from hub import logs
    from hub.cli.doctor import ProbeTarget, check_proxy, run_checks
    from hub.settings import load_settings

    logs.configure("error", "auto", "doctor")
    settings = load_settings(config).settings
    if url is None:
        findings = asyncio.run(run_checks(settings))
    else:
        visit = ProbeTarget(
            _checked(url), seconds, token or _token(settings), internal_url, key, patience
        )
        findings = asyncio.run(check_proxy(visit))
    for finding in findings:
        _show(finding, as_json=as_json)
    failed = [finding for finding in findings if finding.verdict == "fail"]
    if failed:
        raise typer.Exit(3 if any(finding.check == "broker" for finding in failed) else 2)


def _show(finding: CheckResult, *, as_json: bool) -> None:
    if as_json:
        row = {name: getattr(finding, name) for name in finding.__struct_fields__}
        print(json.dumps(row))
        return
    mark = f"{finding.verdict:4}"
    if sys.stdout.isatty():
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        mark = typer.style(mark, fg=colours[finding.verdict])
    print(f"{mark}  {finding.check}: {finding.found}")
    if finding.advice:
        print(f"      → {finding.advice}")


def _checked(url: str) -> str:
    from hub.client.request import parse_url

    try:
        parse_url(url, "--url")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return url


def _token(settings: Settings) -> str | None:
    """The one of the settings, or one that is signed with their secret for a user of our own."""
    from hub.cli.dev_token import sign_dev_token
    from hub.cli.doctor.target import USER

    if settings.client.token is not None:
        return settings.client.token.get_secret_value()
    return sign_dev_token(settings.auth, USER, _TOKEN_SECONDS)


def openapi() -> None:
    """The OpenAPI document of every route.

    The same that the internal listener serves at /openapi.json.

    Example: hub openapi > openapi.json
    """
    from hub.wiring.route_table import build_openapi

    print(json.dumps(build_openapi(), indent=2, ensure_ascii=False))


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
