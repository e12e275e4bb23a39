"""Poolers between a consumer and PostgreSQL: PgBouncer with each of its modes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from hub.errors import HubError, OperatorError
from hub.outbox.connection import require_session
from hub.outbox.session import open_session
from tests.conftest import temporary_folder
from tests.outbox.kit import Outbox
from tests.postgres import PostgresServer, unprivileged_user
from tests.topologies import until

_PORT = 6432
_SETTINGS = """
[databases]
* = host={server}
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
ignore_startup_parameters = extra_float_digits
"""


@pytest.fixture
def start_pooler(postgres: PostgresServer) -> Iterator[Callable[[str], Path]]:
    """A function that starts PgBouncer with a mode, and returns the folder of its socket."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        message = "there is no PgBouncer (Debian: apt-get install pgbouncer)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with ExitStack() as stack:

        def start(mode: str) -> Path:
            folder = temporary_folder("pooler", stack)
            server = postgres.socket
            text = _SETTINGS.format(server=server, port=_PORT, folder=folder, mode=mode)
            (folder / "settings").write_text(text)
            (folder / "users").write_text('"postgres" ""\n')
            as_user = unprivileged_user()
            if as_user:
                os.chown(folder, as_user["user"], as_user["group"])
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    [program, str(folder / "settings")], stderr=log, stdout=log, **as_user
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
            until((folder / f".s.PGSQL.{_PORT}").exists, folder / "log")
            return folder

        yield start


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
async def test_pgbouncer(
    mode: str, outbox: Outbox, postgres: PostgresServer, start_pooler: Callable[[str], Path]
) -> None:
    """A pool with sessions works; another one is refused before anything is locked."""
    folder = start_pooler(mode)
    dsn = f"postgresql://postgres@/postgres?host={folder}&port={_PORT}"
    address = msgspec.structs.replace(outbox.address(), dsn=dsn)
    if mode == "session":
        async with open_session(address, outbox.names, partitions=2) as session:
            await session.claim()
            assert [*session.owned] == [0, 1]
        return
    with pytest.raises(HubError, match=r"pool_mode|statement pooling mode") as caught:
        async with open_session(address, outbox.names, partitions=2):
            pass
    assert isinstance(caught.value, OperatorError) or mode == "statement"
    assert await outbox.inspection.consumers() == []


def test_statement_in_another_session_is_refused() -> None:
    """Whatever the check of the connection has missed, each read names its session."""
    require_session(7, 7)
    with pytest.raises(OperatorError, match="a connection pooler in transaction mode"):
        require_session(8, 7)
