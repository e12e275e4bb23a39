"""The commands config, doctor and openapi."""

from __future__ import annotations

import asyncio
import enum
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hub.cli.options import ConfigOption, JsonOption, load
from hub.cli.user_tokens import sign_user_token

if TYPE_CHECKING:
    from hub.cli.doctor import CheckResult
    from hub.settings import Settings

_TOKEN_TTL_SECONDS: Final = 600


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(config)
    app.command()(doctor)
    app.command()(openapi)


def config(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print the effective settings, with secrets masked.

    The last column says where each value comes from: a default, the file or a variable.

    Example: HUB_PUBLIC__PORT=9000 hub config --json
    """
    from hub.settings import mask_settings

    loaded = load(config)
    rows = [
        {"setting": setting, "value": value, "from": loaded.origins.get(setting, "default")}
        for setting, value in _flatten(mask_settings(loaded.settings.model_dump(mode="json")), "")
    ]
    if as_json:
        print(json.dumps(rows))
        return
    setting_width = max(len(row["setting"]) for row in rows)
    value_width = max(len(_format_value(row["value"])) for row in rows)
    for row in rows:
        value = _format_value(row["value"])
        line = f"{row['setting']:{setting_width}}  {value:{value_width}}  {row['from']}"
        bold = sys.stdout.isatty() and row["from"] != "default"
        print(typer.style(line, bold=True) if bold else line)


def doctor(
    url: Annotated[
        str | None,
        typer.Option(
            "--url", help="Check from outside, through the proxy: the URL that clients use."
        ),
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", help="The token of a user, for --url.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="How many seconds --url watches the streams.", min=1)
    ] = 20,
    timeout: Annotated[
        float,
        typer.Option(
            help="After this many seconds, what has not arrived counts as buffered.", min=0.1
        ),
    ] = 4,
    internal_url: Annotated[
        str | None,
        typer.Option("--internal-url", help="The internal listener, to publish test events."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="The API key for the test events.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the set-up and explain how to fix problems.

    It checks keys, broker, machine limits, ports and upstreams; with --url it checks the proxy
    instead. Exit code 0, 2 (a check failed) or 3 (the broker check failed).

    Example: hub doctor --url https://hub.example.com
    """
    from hub import logs
    from hub.cli.doctor import ProbeTarget, check_proxy, run_checks

    logs.configure("error", "auto", "doctor")
    settings = load(config).settings
    if url is None:
        results = asyncio.run(run_checks(settings))
    else:
        target = ProbeTarget(
            _check_url(url), seconds, token or _doctor_token(settings), internal_url, key, timeout
        )
        results = asyncio.run(check_proxy(target))
    for result in results:
        _print_result(result, as_json=as_json)
    failed = [result for result in results if result.status == "fail"]
    if failed:
        raise typer.Exit(3 if any(result.check == "broker" for result in failed) else 2)


class Listener(enum.StrEnum):
    """The listeners that have an OpenAPI document."""

    PUBLIC = "public"
    INTERNAL = "internal"
    WORKER = "worker"


def openapi(
    listener: Annotated[
        Listener,
        typer.Option(metavar="LISTENER", help="`public`, `internal`, or `worker`."),
    ] = Listener.INTERNAL,
) -> None:
    """Print the OpenAPI document of a listener.

    Generators of clients read it. The internal listener serves the same documents at
    /openapi.json?listener=…

    Example: hub openapi --listener public > openapi-public.json
    """
    from hub.wiring.route_table import build_openapi

    print(json.dumps(build_openapi(listener), indent=2, ensure_ascii=False))


def _print_result(result: CheckResult, *, as_json: bool) -> None:
    if as_json:
        row = {name: getattr(result, name) for name in result.__struct_fields__}
        print(json.dumps(row))
        return
    status = f"{result.status:4}"
    if sys.stdout.isatty():
        colors = {"ok": "green", "warn": "yellow", "fail": "red"}
        status = typer.style(status, fg=colors[result.status])
    print(f"{status}  {result.check}: {result.message}")
    if result.advice:
        print(f"      → {result.advice}")


def _check_url(url: str) -> str:
    from hub_client.request import parse_url

    try:
        parse_url(url, "--url")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return url


def _doctor_token(settings: Settings) -> str | None:
    """Return the token of the settings, or sign one for the user of the checks."""
    from hub.cli.doctor.probe import PROBE_USER

    if settings.client.token is not None:
        return settings.client.token.get_secret_value()
    return sign_user_token(settings.auth, PROBE_USER, _TOKEN_TTL_SECONDS)


def _flatten(table: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in table.items():
        if isinstance(value, dict) and value:
            rows += _flatten(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _format_value(value: Any) -> str:
    return "off" if value is None else value if isinstance(value, str) else json.dumps(value)
