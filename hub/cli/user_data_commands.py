"""The commands data export and data erase. They use the internal HTTP API, as a backend does."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hub.cli.client_commands import InternalUrlOption, load_client_settings, run_with_client
from hub.cli.options import CommandFailed, ConfigOption

if TYPE_CHECKING:
    from hub_client import HubClient

_UserArgument = Annotated[str, typer.Argument(help="The user whose data it is.")]
_KeyOption = Annotated[str | None, typer.Option("--key", help="An API key with the scope admin.")]
_data: Final = typer.Typer(
    help="Export or erase everything that the hub keeps about a user.", no_args_is_help=True
)


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(_data, name="data")


@_data.command()
def export(
    user: _UserArgument,
    internal_url: InternalUrlOption = None,
    key: _KeyOption = None,
    config: ConfigOption = None,
) -> None:
    """Print everything that the hub keeps about a user, as JSON.

    Example: hub data export alice > alice.json
    """
    settings = load_client_settings(
        config, {"client.internal_url": internal_url, "client.key": key}
    )

    async def run(hub: HubClient) -> None:
        print(json.dumps(await hub.export_data(user), ensure_ascii=False, indent=2))

    run_with_client(settings, run)


@_data.command()
def erase(
    user: _UserArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    internal_url: InternalUrlOption = None,
    key: _KeyOption = None,
    config: ConfigOption = None,
) -> None:
    """Erase everything that the hub keeps about a user. Answers that run are stopped.

    Example: hub data erase alice --yes
    """
    settings = load_client_settings(
        config, {"client.internal_url": internal_url, "client.key": key}
    )
    if not yes:
        if not sys.stdin.isatty():
            raise CommandFailed("add --yes: without a terminal nobody can confirm the erasure")
        typer.confirm(f"Erase everything that the hub keeps about {user}?", abort=True)

    async def run(hub: HubClient) -> None:
        await hub.erase_data(user)
        print(f"erased {user}")

    run_with_client(settings, run)
