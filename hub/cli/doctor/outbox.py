"""Checks of the PostgreSQL outbox: can the hub use the tables, and does a consumer run?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hub.cli.doctor.probe import CheckResult, fail, ok, warn
from hub.errors import HubError
from hub.settings import Settings

if TYPE_CHECKING:
    from hub.outbox.inspection import Inspection

_OLD_SECONDS: Final = 60.0
_CHECK: Final = "outbox"


async def check_outbox(settings: Settings) -> list[CheckResult]:
    """Check the outbox, if the settings name a database."""
    if settings.outbox.dsn is None:
        return []
    from hub.wiring.outbox import check_installed, database_address, table_names

    shown = settings.outbox.shown_dsn
    try:
        check_installed(settings)
        from hub.outbox.connection import check_session, connect, translated_errors
        from hub.outbox.inspection import Inspection, check_tables

        address = database_address(settings)
        async with connect(address) as connection:
            with translated_errors(address):
                await check_session(address, connection)
                inspection = Inspection(connection, table_names(settings))
                tables = await inspection.tables()
                check_tables(tables)
                return await _check_rows(shown, inspection, notifies=tables.notifies)
    except HubError as error:
        return [fail(_CHECK, str(error), "check the table [outbox] of the settings")]


async def _check_rows(shown: str, inspection: Inspection, *, notifies: bool) -> list[CheckResult]:
    backlog, consumers = await inspection.backlog(), await inspection.consumers()
    results = [
        ok(
            _CHECK,
            f"{shown}: {backlog.rows} rows wait; consumers: {', '.join(consumers) or 'none'}",
        )
    ]
    if not consumers:
        results = [warn(_CHECK, f"{shown}: no consumer runs", "start `hub worker` or `hub outbox`")]
    elif (backlog.oldest_seconds or 0) > _OLD_SECONDS:
        age = f"{backlog.oldest_seconds:.0f} seconds"
        advice = "look for outbox.… in the logs of the consumers"
        results = [warn(_CHECK, f"{shown}: the oldest row waits for {age}", advice)]
    if not notifies:
        message = f"{shown}: no trigger wakes the consumers, so rows wait for outbox.poll_seconds"
        results.append(warn(_CHECK, message, "run the SQL of `hub outbox init`, or ignore this"))
    if backlog.refused:
        message = f"{shown}: {backlog.refused} refused rows are set aside"
        results.append(warn(_CHECK, message, "see `hub outbox refused`, and `retry` or `discard`"))
    return results
