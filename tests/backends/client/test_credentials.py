"""A password that changes while the hub runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.backends.redis.client import RedisClient, open_client
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
    async with asyncio.timeout(30):
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
    async with open_client(url, timeout_seconds=1.0, password_file=str(file)) as client:
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
    topology = parse_topology("redis+sentinel://hub@a/main?sentinel_password=s", "/file")
    assert isinstance(topology, Sentinel)
    sentinel = topology._sentinels[0].new_connection()
    assert (sentinel.credential_provider, sentinel.password) == (None, "s")
    assert topology._template.new_connection().credential_provider is not None
    with pytest.raises(ValueError, match="the URL has a password"):
        parse_topology("redis://:pw@a", "/file")
