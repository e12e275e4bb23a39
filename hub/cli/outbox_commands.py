"""`hub outbox`: the consumer of the PostgreSQL outbox, its tables, and its refused rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer

from hub.cli.options import CommandFailed, ConfigOption, JsonOption, given_flags, load
from hub.cli.process_commands import run_until_signal

if TYPE_CHECKING:
    from hub.outbox.inspection import Inspection
    from hub.settings import Settings

T = TypeVar("T")

IdsArgument = Annotated[
    list[UUID] | None, typer.Argument(help="The ids of refused rows.", metavar="[ID]…")
]
AllOption = Annotated[bool, typer.Option("--all", help="All refused rows.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
    group.callback()(outbox)
    for command in (init, status, refused, retry, discard):
        group.command()(command)
    app.add_typer(group, name="outbox")


def outbox(
    context: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(help="The port of /healthz and /metrics. Without it, there is none."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Run a consumer of the PostgreSQL outbox.

    It publishes the rows that applications write into the table of the setting outbox.table, and
    deletes them. A `hub worker` with the same settings does so as well.

    Example: HUB_OUTBOX__DSN=postgresql://hub@db/app hub outbox
    """
    if context.invoked_subcommand is not None:
        return
    from hub import logs
    from hub.wiring.outbox import run_outbox

    settings = load(config, given_flags({"worker.port": port})).settings
    logs.configure(settings.logs.level, settings.logs.format, "outbox")
    run_until_signal(lambda shutdown: run_outbox(settings, shutdown))


def init(
    no_notify: Annotated[
        bool,
        typer.Option("--no-notify", help="Leave out the trigger that wakes the consumers."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Print the SQL that creates the tables.

    Each statement may be repeated. No connection is made: a role that may create tables runs it.

    Example: hub outbox init | grep -c CREATE
    """
    from hub.outbox.schema import create_statements
    from hub.wiring.outbox import table_names

    names = table_names(load(config).settings)
    print(create_statements(names, notify=not no_notify), end="")


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Print what waits in the outbox, what was refused, and which consumers run.

    Example: hub outbox status --json
    """

    async def read(inspection: Inspection) -> dict[str, object]:
        backlog = await inspection.backlog()
        return {
            "waiting": backlog.rows,
            "oldest_seconds": backlog.oldest_seconds and round(backlog.oldest_seconds, 1),
            "refused": backlog.refused,
            "consumers": await inspection.consumers(),
        }

    state = _inspect(load(config).settings, read)
    if as_json:
        print(json.dumps(state))
        return
    for name, value in state.items():
        shown = ", ".join(value) or "none" if isinstance(value, list) else value
        print(f"{name.replace('_', ' '):16}{'-' if shown is None else shown}")


def refused(
    limit: Annotated[int, typer.Option(min=1, help="How many rows are printed.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the rows that were refused last, with the reasons.

    Example: hub outbox refused --limit 5
    """
    rows = _inspect(load(config).settings, lambda inspection: inspection.refused(limit))
    for row in rows:
        refused_at = row.refused_at.isoformat(timespec="seconds")
        if as_json:
            fields = {name: getattr(row, name) for name in row.__struct_fields__}
            print(json.dumps({**fields, "refused_at": refused_at}))
        else:
            print(f"{row.id}  {refused_at}  {row.recipient}  {row.event}\n      {row.reason}")


def retry(ids: IdsArgument = None, all_: AllOption = False, config: ConfigOption = None) -> None:
    """Put refused rows back into the outbox, so that they are published again.

    A row that was refused because its id belongs to another event gets a new id.

    Example: hub outbox retry --all
    """
    chosen = _chosen(ids, all_)
    count = _inspect(load(config).settings, lambda inspection: inspection.retry(chosen))
    _report(count, chosen, "put back")


def discard(ids: IdsArgument = None, all_: AllOption = False, config: ConfigOption = None) -> None:
    """Delete refused rows.

    Example: hub outbox discard --all
    """
    chosen = _chosen(ids, all_)
    count = _inspect(load(config).settings, lambda inspection: inspection.discard(chosen))
    _report(count, chosen, "deleted")


def _chosen(ids: Sequence[UUID] | None, all_: bool) -> list[str] | None:
    """Return the ids, or None for all rows."""
    if bool(ids) is all_:
        raise typer.BadParameter("give the ids of rows, or --all")
    return None if all_ else [str(each) for each in ids or ()]


def _report(count: int, chosen: Sequence[str] | None, what: str) -> None:
    print(f"{count} {'row' if count == 1 else 'rows'} {what}")
    if chosen is not None and count < len(set(chosen)):
        raise CommandFailed("the other ids are not those of refused rows")


def _inspect(settings: Settings, read: Callable[[Inspection], Awaitable[T]]) -> T:
    """Connect, and return what `read` returns. Raise OperatorError, DatabaseUnavailable."""
    from hub.wiring.outbox import check_installed, database_address, table_names

    check_installed(settings)
    from hub.outbox.connection import connect, translated_errors
    from hub.outbox.inspection import Inspection

    async def run() -> T:
        address = database_address(settings)
        async with connect(address) as connection:
            with translated_errors(address):
                return await read(Inspection(connection, table_names(settings)))

    return asyncio.run(run())
