"""A password that changes while the hub runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import AuthenticationError
from structlog.testing import capture_logs

from hub.backends.redis.client import (
    PasswordCommand,
    PasswordFile,
    PasswordSource,
    RedisClient,
    open_client,
)
from hub.backends.redis.client.topology import Sentinel, parse_topology
from hub.cli.doctor.broker import check_broker
from hub.errors import BrokerUnavailable
from hub.settings import Settings
from tests.topologies import TcpServer, free_ports, valkey_binary


@pytest.fixture
def server(short_path: Path) -> Iterator[TcpServer]:
    """A server with the user `hub`, whose password is `first`."""
    started = TcpServer(valkey_binary(), short_path, free_ports(1)[0])
    started.ask("ACL", "SETUSER", "hub", "on", ">first", "~*", "&*", "+@all")
    yield started
    started.kill()


async def ping_until_it_works(client: RedisClient) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                return await client.ping()
            except BrokerUnavailable:
                await asyncio.sleep(0.01)


async def test_rotation_without_a_restart(server: TcpServer, tmp_path: Path) -> None:
    """The client reads the file again when it connects again, also after a refused login."""
    file = tmp_path / "password"
    file.write_text("first\n")
    url = f"redis://hub@127.0.0.1:{server.port}"
    async with open_client(url, timeout_seconds=1.0, password=PasswordFile(str(file))) as client:
        await client.ping()
        server.ask("ACL", "SETUSER", "hub", "resetpass", ">second")
        server.ask("CLIENT", "KILL", "USER", "hub")
        with pytest.raises(BrokerUnavailable):
            for _ in range(100):  # the client may not have noticed yet
                await client.ping()
        file.write_text("second")
        await ping_until_it_works(client)
        file.unlink()
        server.ask("CLIENT", "KILL", "USER", "hub")
        with pytest.raises(BrokerUnavailable):
            for _ in range(100):
                await client.ping()
        file.write_text("second")
        await ping_until_it_works(client)


@pytest.mark.parametrize("text", [None, "", " \n", "wrong"])
async def test_file_without_the_password(
    server: TcpServer, tmp_path: Path, text: str | None
) -> None:
    """A file that is missing, empty or wrong is a result of the doctor that names the setting."""
    file = tmp_path / "password"
    if text is not None:
        file.write_text(text)
    redis = {"url": f"redis://hub@127.0.0.1:{server.port}", "password_file": str(file)}
    (result,) = await check_broker(Settings.model_validate({"redis": redis}))
    assert result.status == "fail"
    assert "redis.password_file" in result.advice
    assert text == "wrong" or str(file) in result.message


def test_file_is_for_the_data_servers() -> None:
    """Sentinels do not get the password of the servers, and two passwords are an error."""
    topology = parse_topology("redis+sentinel://hub@a/main?sentinel_password=s", PasswordFile("/f"))
    assert isinstance(topology, Sentinel)
    sentinel = topology._sentinels[0].new_connection()
    assert (sentinel.credential_provider, sentinel.password) == (None, "s")
    assert topology._template.new_connection().credential_provider is not None
    for source in (PasswordFile("/f"), PasswordCommand(["p"])):
        with pytest.raises(
            ValueError, match=f"the URL has a password, and {source.setting} is set"
        ):
            parse_topology("redis://:pw@a", source)


class CountedCommand:
    """A command that prints a file and counts its runs."""

    def __init__(self, folder: Path, password: str) -> None:
        self.file = folder / "password"
        self.file.write_text(password)
        self._runs = folder / "runs"
        self.command = ["sh", "-c", 'echo >> "$1"; cat "$2"', "sh", str(self._runs), str(self.file)]

    @property
    def runs(self) -> int:
        return self._runs.read_text().count("\n")


async def test_rotation_with_a_command(server: TcpServer, tmp_path: Path) -> None:
    """The command is run once for all connections, and again when the server refuses its password;
    the requests of that time wait for the new login, and none fails.
    """
    counted = CountedCommand(tmp_path, "first\n")
    source = PasswordCommand(counted.command, min_interval_seconds=0)
    url = f"redis://hub@127.0.0.1:{server.port}"
    async with open_client(url, timeout_seconds=5.0, password=source) as client:
        await client.ping()
        server.ask("CLIENT", "KILL", "USER", "hub")
        await asyncio.gather(*(client.call(0, "GET", "k") for _ in range(10)))
        assert counted.runs == 1
        counted.file.write_text("second")
        server.ask("ACL", "SETUSER", "hub", "resetpass", ">second")
        server.ask("CLIENT", "KILL", "USER", "hub")
        await asyncio.gather(*(client.call(0, "GET", "k") for _ in range(10)))
    assert counted.runs == 2


async def test_lost_login_costs_one_handshake(server: TcpServer, tmp_path: Path) -> None:
    """NOAUTH on an open connection was executed by nobody: after one new login each call of that
    time is repeated and executed once, whichever source the password has.
    """
    counted = CountedCommand(tmp_path, "first")
    logins: list[tuple[str, PasswordSource | None]] = [
        ("hub:first", None),
        ("hub", PasswordFile(str(counted.file))),
        ("hub", PasswordCommand(counted.command, min_interval_seconds=0)),
    ]
    server.ask("CONFIG", "SET", "requirepass", "another")  # the default user has no access now
    for n, (login, source) in enumerate(logins):
        url = f"redis://{login}@127.0.0.1:{server.port}"
        async with open_client(url, timeout_seconds=5.0, password=source) as client:
            calls = [client.call(0, "INCR", f"calls{n}") for _ in range(50)]
            calls.insert(10, client.call(0, "RESET"))  # as a proxy that forgets the login
            replies = await asyncio.gather(*calls)
            assert replies.pop(10) == b"RESET"
            assert sorted(replies) == [*range(1, 51)]
            assert client.disconnects == 1
    assert counted.runs == 2


async def test_refused_password_is_not_asked_for_without_end(
    server: TcpServer, tmp_path: Path
) -> None:
    """A command whose password is wrong is not run for each attempt to connect."""
    counted = CountedCommand(tmp_path, "wrong")
    source = PasswordCommand(counted.command, min_interval_seconds=1000)
    url = f"redis://hub@127.0.0.1:{server.port}"
    async with open_client(url, timeout_seconds=5.0, password=source) as client:
        with pytest.raises(BrokerUnavailable, match="invalid username-password pair"):
            await client.ping()
    assert counted.runs == 1


async def test_output_of_the_command() -> None:
    """White space around the output is left out, and no shell reads the arguments."""
    source = PasswordCommand(["printf", "%s", " \n\t$HOME; 'echo' *\r\n\n"])
    assert await source.read() == "$HOME; 'echo' *"
    assert await PasswordCommand(["sh", "-c", "echo a; echo b >&2"]).read() == "a"


@pytest.mark.parametrize(
    ("command", "sentence", "logged"),
    [
        (["/no/such/program"], "cannot be run ([Errno 2]", None),
        (["/"], "cannot be run ([Errno 13]", None),
        (["p\0"], "cannot be run (embedded null byte)", None),
        (["true"], "has printed nothing", {"exit_code": 0, "stderr": ""}),
        (
            ["sh", "-c", "echo Secret1; echo 'bad Secret1 and hunter22' >&2; exit 7", "hunter22"],
            "has ended with exit code 7",
            {"exit_code": 7, "stderr": "bad *** and ***"},
        ),
        (["printf", "Half1\\nHalf2"], "has not printed a password", {"exit_code": 0}),
        (["printf", "\\377"], "has not printed a password", {"exit_code": 0}),
        (["head", "-c", "20000", "/dev/zero"], "has not printed a password", {"exit_code": 0}),
        (["sh", "-c", "kill -9 $$"], "has ended with exit code -9", {"exit_code": -9}),
        (["yes"], "has not ended in 0.2 s", {"reason": "timeout"}),
        (["sh", "-c", "sleep 60 & echo pw"], "has not ended in 0.2 s", {"reason": "timeout"}),
        (["sh", "-c", "yes >&2"], "has not ended in 0.2 s", {"reason": "timeout"}),
    ],
)
async def test_command_without_a_password(
    command: list[str], sentence: str, logged: dict[str, Any] | None
) -> None:
    """The error says what the program did; the log has its exit code and standard error, without a
    secret.
    """
    timeout_seconds = 0.2 if "0.2 s" in sentence else 30
    source = PasswordCommand(command, timeout_seconds=timeout_seconds)
    with capture_logs() as logs, pytest.raises(AuthenticationError) as caught:
        await source.read()
    assert str(caught.value).startswith(f"the password command {command[0]} {sentence}")
    for secret in ("Secret1", "hunter22", "Half1", "Half2"):
        assert secret not in f"{caught.value}{logs}"
    if logged is None:
        assert not logs
    else:
        (line,) = logs
        assert line["event"] == "redis.password_command_failed"
        assert line.items() >= logged.items()


async def test_command_that_recovers(tmp_path: Path) -> None:
    """A failed run is not the last one."""
    file = tmp_path / "password"
    source = PasswordCommand(["cat", str(file)], min_interval_seconds=0)
    with capture_logs(), pytest.raises(AuthenticationError):
        await source.read()
    file.write_text("pw")
    assert await source.read() == "pw"
    assert await source.read() == "pw"


async def test_wrong_command_is_a_result_of_the_doctor(server: TcpServer) -> None:
    """The doctor shows what the program did, and names the setting."""
    redis = {"url": f"redis://hub@127.0.0.1:{server.port}", "password_command": ["/no/such"]}
    (result,) = await check_broker(Settings.model_validate({"redis": redis}))
    assert result.status == "fail"
    assert "the password command /no/such cannot be run" in result.message
    assert "redis.password_command" in result.advice
