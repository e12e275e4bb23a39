"""The commands under `hub keys`: make keys for the settings."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hub.cli.options import JsonOption

_keys = typer.Typer(help="Make keys for the settings.", no_args_is_help=True, rich_markup_mode=None)


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(_keys, name="keys")


@_keys.command()
def vapid(
    subject: Annotated[
        str, typer.Option(help="How push services reach you: mailto:… or an https:// URL.")
    ] = "mailto:ops@example.com",
    as_json: JsonOption = False,
) -> None:
    """Make the keys for push notifications, and print the table [push] of the settings.

    Use one pair of keys for all nodes and workers. Devices that have subscribed with another pair
    must subscribe again.

    Example: hub keys vapid --subject mailto:you@example.com >> config/hub.toml
    """
    from hub.push.vapid import generate_vapid_keys

    keys = generate_vapid_keys()
    table = {
        "public_key": keys.public_key,
        "private_key": keys.private_key,
        "subject": subject,
    }
    if as_json:
        print(json.dumps(table))
        return
    print("[push]")
    for name, value in table.items():
        print(f"{name} = {json.dumps(value)}")
