"""The topologies that URLs name."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import hiredis
import pytest

from hub.backends.redis.client import open_client
from hub.backends.redis.client.connection import pack_command
from hub.backends.redis.client.topology import Cluster, Sentinel, Single, _owner, parse_topology
from hub.errors import BrokerUnavailable
from tests.topologies import TcpServer, free_ports, valkey_binary


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://h", Single),
        ("rediss://user:secret@h:7000/2", Single),
        ("unix:///run/redis.sock", Single),
        ("redis+sentinel://h1,h2:26380/main/1?sentinel_password=p", Sentinel),
        ("rediss+cluster://user:secret@h1:7000,h2", Cluster),
        ("redis+cluster://h1/0", Cluster),
    ],
)
def test_url_names_its_topology(url: str, kind: type) -> None:
    """The scheme of the URL selects the topology."""
    assert isinstance(parse_topology(url), kind)


async def test_single_has_all_partitions() -> None:
    """One server at the address of the URL owns every partition."""
    servers = await parse_topology("redis://:pw@h:7000/2").find_servers(1.0)
    assert len(servers) == 128
    assert {str(server) for server in servers} == {"h:7000"}
    assert {server.new_connection().db for server in servers} == {2}


async def test_ports_are_the_usual_ones() -> None:
    """The default port is 6379 for servers, also of a Cluster, and 26379 for Sentinels."""
    assert str((await parse_topology("redis://h").find_servers(1.0))[0]) == "h:6379"
    assert [str(server) for server in parse_topology("redis+cluster://a,b:1")._seeds] == [  # type: ignore[attr-defined]
        "a:6379",
        "b:1",
    ]
    sentinels = parse_topology("redis+sentinel://a,b:1/main")._sentinels  # type: ignore[attr-defined]
    assert [str(server) for server in sentinels] == ["a:26379", "b:1"]


@pytest.mark.parametrize(
    ("host", "more", "address"),
    [
        (b"10.0.0.2", [], "10.0.0.2:7000"),
        (b"", [], "seed:7000"),
        (None, [b"id", []], "seed:7000"),
        (b"?", [b"id", []], "seed:7000"),
        (b"?", [b"id", [b"ip", b"10.0.0.2"]], "10.0.0.2:7000"),
        (b"?", [b"id", [b"hostname", b"b.example"]], "b.example:7000"),
        (b"?", [b"id", [b"ip", b""]], "seed:7000"),
    ],
)
def test_host_of_a_server_of_a_cluster(host: bytes | None, more: list[Any], address: str) -> None:
    """A host that is missing or unknown is the one of the server that replied."""
    topology = parse_topology("redis+cluster://seed")
    assert isinstance(topology, Cluster)
    ranges = [[0, 16383, [host, 7000, *more]]]
    assert str(_owner(topology._seeds[0], ranges, 5)) == address


def test_sentinels_and_servers_have_their_own_logins() -> None:
    """The user and password of the URL are those of the data servers."""
    topology = parse_topology("redis+sentinel://user:pw@a/main/3?sentinel_password=other")
    assert isinstance(topology, Sentinel)
    server = topology._template.new_connection()
    sentinel = topology._sentinels[0].new_connection()
    assert (server.username, server.password, server.db) == ("user", "pw", 3)
    assert (sentinel.username, sentinel.password, sentinel.db) == (None, "other", 0)


@pytest.mark.parametrize("url", ["redis+sentinel://h", "redis+cluster://h/3", "http://h"])
def test_url_that_names_none(url: str) -> None:
    """A wrong URL is an error of one sentence."""
    with pytest.raises(ValueError, match=r"URL of Sentinels|no databases|must begin"):
        parse_topology(url)


class FakeSentinel:
    """Names `primary_port` as the primary, whatever the service is called."""

    def __init__(self, primary_port: int) -> None:
        self.primary_port = primary_port

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._answer, "127.0.0.1", 0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands = hiredis.Reader()
        with closing(writer):
            while data := await reader.read(4096):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    address = pack_command((b"127.0.0.1", b"%d" % self.primary_port))
                    writer.write(address if command[0] == b"SENTINEL" else b"+OK\r\n")


async def test_connection_to_an_old_primary(tmp_path: Path) -> None:
    """A server that accepts connections is not used when the Sentinels name another one."""
    server = TcpServer(valkey_binary(), tmp_path, free_ports(1)[0])
    sentinel = FakeSentinel(server.port)
    try:
        async with await sentinel.serve() as listener:
            port = listener.sockets[0].getsockname()[1]
            url = f"redis+sentinel://127.0.0.1:{port}/hub"
            async with open_client(url, timeout_seconds=20.0) as client:
                old = client.server_of(0)
                connection = await client.connect(old, lambda replies: None, 20.0)
                await connection.close()
                sentinel.primary_port += 1
                with pytest.raises(BrokerUnavailable, match=f"not {old}"):
                    await client.connect(old, lambda replies: None, 20.0)
    finally:
        server.kill()
