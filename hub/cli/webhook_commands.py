"""The commands under `hub webhooks`: endpoints, dead letters, attempts and replays."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Annotated, Any, Final

import typer

from hub.cli.client_commands import InternalUrlOption, load_client_settings
from hub.cli.options import CommandFailed, ConfigOption, JsonOption

KeyOption = Annotated[str | None, typer.Option("--key", help="An API key with the scope admin.")]
_TIMEOUT_SECONDS: Final = 30.0
_PAGE: Final = 1000
_webhooks = typer.Typer(help="Look after webhooks.", no_args_is_help=True, rich_markup_mode=None)


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(_webhooks, name="webhooks")


@_webhooks.command()
def secret() -> None:
    """Print a random secret for `[[webhooks]]`.

    Example: hub webhooks secret
    """
    from hub.core.webhooks import new_secret

    print(new_secret())


@_webhooks.command("list")
def list_webhooks(
    internal_url: InternalUrlOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the webhooks, with the state of each.

    Example: hub webhooks list
    """
    listed = _call("GET", "/webhooks", internal_url, key, config)
    if as_json:
        print(json.dumps(listed))
        return
    for each in listed["webhooks"]:
        error = f"  {each['error']}" if each["error"] else ""
        print(f"{each['id']}  {each['state']:7}  {each['url']}{error}")
    print(f"{listed['waiting']} waiting, {listed['dead']} dead, {listed['dropped']} dropped")


@_webhooks.command()
def dead(
    internal_url: InternalUrlOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the dead letters, newest first.

    Example: hub webhooks dead
    """
    _print_deliveries("dead", as_json, _list(internal_url, key, config, "dead"))


@_webhooks.command()
def waiting(
    internal_url: InternalUrlOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the deliveries that wait: of each webhook and user the next one.

    Example: hub webhooks waiting
    """
    _print_deliveries("waiting", as_json, _list(internal_url, key, config, "waiting"))


@_webhooks.command()
def show(
    delivery: Annotated[str, typer.Argument(help="The id of a delivery.")],
    internal_url: InternalUrlOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a delivery that waits or is a dead letter: its attempts and its body.

    Example: hub webhooks show d0018f3ab2c4d5e6f708192a3b4
    """
    shown = _call("GET", f"/webhooks/deliveries/{delivery}", internal_url, key, config)
    if as_json:
        print(json.dumps(shown))
        return
    print(f"{shown['id']}  {shown['state']}  {shown['event']}  {shown['channel']}")
    for attempt in shown["attempts"]:
        moment, _, error = attempt.partition(" ")
        print(f"{_format_time(float(moment))}  {error}")
    print(json.dumps(shown["body"], indent=2, ensure_ascii=False))


@_webhooks.command()
def replay(
    delivery: Annotated[str | None, typer.Argument(help="The id of a dead letter.")] = None,
    all_of_them: Annotated[
        bool, typer.Option("--all", help="Send all dead letters again, oldest first.")
    ] = False,
    internal_url: InternalUrlOption = None,
    key: KeyOption = None,
    config: ConfigOption = None,
) -> None:
    """Send a dead letter again, with the same id and body.

    Example: hub webhooks replay --all
    """
    if (delivery is None) is not all_of_them:
        raise CommandFailed("name a delivery, or pass --all")
    ids = [delivery]
    if delivery is None:
        ids = [each["id"] for each in reversed(_list(internal_url, key, config, "dead"))]
    for each in ids:
        _call("POST", f"/webhooks/deliveries/{each}/replay", internal_url, key, config)
        print(f"{each}  will be sent")


def _list(internal_url: Any, key: Any, config: Any, state: str) -> list[dict[str, Any]]:
    path = f"/webhooks/deliveries?state={state}&limit={_PAGE}"
    deliveries: list[dict[str, Any]] = _call("GET", path, internal_url, key, config)["deliveries"]
    return deliveries


def _print_deliveries(state: str, as_json: bool, deliveries: list[dict[str, Any]]) -> None:
    if as_json:
        print(json.dumps(deliveries))
        return
    for each in deliveries:
        newest = each["attempts"][-1].partition(" ")[2] if each["attempts"] else "not tried yet"
        print(
            f"{each['id']}  {_format_time(each['added_at'])}  {each['webhook']}  {each['event']}  "
            f"{each['channel']}  {each['failures']} failed: {newest}"
        )
    if not deliveries:
        print(f"no deliveries are {state}", file=sys.stderr)


def _format_time(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _call(method: str, path: str, internal_url: Any, key: Any, config: Any) -> Any:
    """Send a request to the internal listener. Raise CommandFailed."""
    import aiohttp

    flags = {"client.internal_url": internal_url, "client.key": key}
    client = load_client_settings(config, flags).client
    headers = {}
    if client.key is not None:
        headers["Authorization"] = f"Bearer {client.key.get_secret_value()}"

    async def run() -> Any:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, f"{client.internal_url}{path}", headers=headers) as response,
        ):
            text = await response.text()
            if response.status >= 400:
                try:
                    raise CommandFailed(json.loads(text)["detail"])
                except (ValueError, KeyError, TypeError) as error:
                    raise CommandFailed(f"the hub answered {response.status}") from error
            return json.loads(text) if text else None

    try:
        return asyncio.run(run())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommandFailed(f"{client.internal_url} cannot be reached: {error}") from error
