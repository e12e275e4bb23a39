"""The command inbox. It uses the internal HTTP API, as a backend does."""

from __future__ import annotations

import enum
import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli.client_commands import InternalUrlOption, load_client_settings, run_with_client
from hub.cli.options import CommandFailed, ConfigOption, JsonOption

if TYPE_CHECKING:
    from hub_client import HubClient, InboxItem

_KeyOption = Annotated[
    str | None,
    typer.Option("--key", help="An API key with the scope read, for changes publish."),
]


class _Action(enum.StrEnum):
    LIST = "list"
    READ = "read"
    UNREAD = "unread"
    SEEN = "seen"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"
    DELETE = "delete"


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(inbox)


def inbox(
    user: Annotated[str, typer.Argument(help="The user whose inbox it is.")],
    action: Annotated[
        _Action,
        typer.Argument(
            help="What to do: list, read, unread, seen, archive, unarchive or delete.",
            metavar="[ACTION]",
        ),
    ] = _Action.LIST,
    items: Annotated[
        list[str] | None, typer.Argument(help="The ids of the items to change.")
    ] = None,
    up_to: Annotated[
        str | None, typer.Option(help="Change this item and all older ones.", metavar="ID")
    ] = None,
    category: Annotated[str | None, typer.Option(help="Only the items of this category.")] = None,
    unread: Annotated[bool, typer.Option("--unread", help="List only unread items.")] = False,
    limit: Annotated[int, typer.Option(help="The number of items.", min=1, max=200)] = 50,
    internal_url: InternalUrlOption = None,
    key: _KeyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the inbox of a user, or change items of it.

    Example: hub inbox alice read --category exports
    """
    settings = load_client_settings(
        config, {"client.internal_url": internal_url, "client.key": key}
    )
    if action is _Action.LIST and (items or up_to):
        raise CommandFailed("list takes no items: use --category, --unread and --limit")
    if action is not _Action.LIST and bool(items) + bool(up_to) + bool(category) != 1:
        raise CommandFailed(f"{action.value}: give the ids of items, or --up-to, or --category")

    async def run(hub: HubClient) -> None:
        from msgspec import to_builtins

        of_user = hub.inbox_of(user)
        if action is _Action.LIST:
            page = await of_user.list(category=category, unread=unread, limit=limit)
            if as_json:
                print(json.dumps(to_builtins(page)))
                return
            for item in page.items:
                print(_format_item(item))
            print(_format_counts(page.unread, page.unseen))
            return
        counts = await of_user.change(
            action.value,  # type: ignore[arg-type] # the names are those of ItemChange
            *(items or ()),
            up_to=up_to,
            category=category,
        )
        if as_json:
            print(json.dumps(to_builtins(counts)))
        else:
            print(_format_counts(counts.unread, counts.unseen))

    run_with_client(settings, run)


def _format_item(item: InboxItem) -> str:
    """Return one line: the id, the time, the state, the category, and the data."""
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.created_at))
    state = "archived" if item.archived else "read" if item.read else "unread"
    data = json.dumps(item.data, ensure_ascii=False)
    return f"{item.id}  {at}  {state:8}  {item.category or '-'}  {item.event}  {data}"


def _format_counts(unread: int, unseen: int) -> str:
    return f"{unread} unread, {unseen} unseen"
