"""Which server owns which partition: one server, one behind Sentinel, or a Cluster.

    redis://[user:password@]host[:6379][/database]      rediss:// for TLS, unix:///path for a socket
    redis+sentinel://[user:password@]host[:26379],host…/service[/database]
    redis+cluster://[user:password@]host[:6379],host…

The user and password are those of the data servers; the password of the Sentinels is
`?sentinel_password=`. `rediss+sentinel://` and `rediss+cluster://` use TLS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis.asyncio.connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError

from hub.backends.redis.keys import hash_tag
from hub.core.channel import PARTITIONS
from hub.errors import BrokerUnavailable

_SLOTS: Final = tuple(key_slot(hash_tag(n).encode()) for n in range(PARTITIONS))


class RedisServer:
    """The address of a server and how to log in. Servers with the same address are equal."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = {name: value for name, value in options.items() if value is not None}
        path = self._options.get("path")
        self.address: str = path or f"{self._options['host']}:{self._options['port']}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedisServer) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __str__(self) -> str:
        return self.address

    def with_address(self, host: str, port: int) -> RedisServer:
        """Return a server at another address with the same login."""
        return RedisServer({**self._options, "host": host, "port": port})

    def sentinel(self, password: str | None) -> RedisServer:
        """Return the server as a Sentinel: it has its own login and no databases."""
        options = {**self._options, "username": None, "password": password, "db": 0}
        return RedisServer(options)

    def new_connection(self) -> redis.asyncio.connection.AbstractConnection:
        """Return an unopened redis-py connection without retries and timeouts.

        In Python 3.11 the timeouts of redis-py use asyncio.wait_for, which costs a task for each
        command and can swallow a cancellation.
        """
        options = dict(self._options)
        kind = options.pop("connection_class", redis.asyncio.connection.Connection)
        connection: redis.asyncio.connection.AbstractConnection = kind(
            **options,
            protocol=2,
            decode_responses=False,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            health_check_interval=0,
            **({} if "path" in options else {"socket_keepalive": True}),
        )
        return connection


class Topology(Protocol):
    """Which server owns which partition."""

    sharded: bool
    """Whether pub/sub messages stay on the server of their partition (SPUBLISH, SSUBSCRIBE)."""
    poll_seconds: float | None
    """Interval of the refreshes that nothing else causes; None means never."""

    async def find_servers(self, timeout_seconds: float) -> Sequence[RedisServer]:
        """Return the server of each partition. Raise BrokerUnavailable."""
        ...


class Single:
    """One server that owns every partition."""

    sharded = False
    poll_seconds: float | None = None

    def __init__(self, server: RedisServer) -> None:
        self._servers = [server] * PARTITIONS

    async def find_servers(self, timeout_seconds: float) -> Sequence[RedisServer]:
        return self._servers


class Sentinel:
    """One server that owns every partition; the Sentinels know its address.

    https://redis.io/docs/latest/develop/reference/sentinel-clients/
    """

    sharded = False
    poll_seconds: float | None = 5.0

    def __init__(
        self, sentinels: Sequence[RedisServer], service: str, password: str | None
    ) -> None:
        self._template = sentinels[0]  # has the login of the data servers
        self._sentinels = [server.sentinel(password) for server in sentinels]
        self._service = service

    async def find_servers(self, timeout_seconds: float) -> Sequence[RedisServer]:
        command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        address = await _first_reply(self._sentinels, command, timeout_seconds)
        if address is None:
            raise BrokerUnavailable(f"the Sentinels know no service {self._service!r}")
        host, port = address
        return [self._template.with_address(host.decode(), int(port))] * PARTITIONS


class Cluster:
    """Several servers that share the slots.

    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
    """

    sharded = True
    poll_seconds: float | None = 30.0

    def __init__(self, seeds: Sequence[RedisServer]) -> None:
        self._seeds = list(seeds)
        self._known: list[RedisServer] = []  # the servers of the last topology

    async def find_servers(self, timeout_seconds: float) -> Sequence[RedisServer]:
        candidates = list(dict.fromkeys([*self._known, *self._seeds]))
        for server in candidates:
            ranges = await _first_reply(
                [server], ("CLUSTER", "SLOTS"), timeout_seconds, required=False
            )
            if ranges is None:
                continue
            try:
                owners = [_owner(server, ranges, slot) for slot in _SLOTS]
            except LookupError:
                continue  # this server does not know an owner of every slot
            self._known = list(dict.fromkeys(owners))
            return owners
        raise BrokerUnavailable("no server of the Cluster knows the owner of every partition")


def _owner(source: RedisServer, ranges: Any, slot: int) -> RedisServer:
    for first, last, (host, port, *_), *_ in ranges:
        if first <= slot <= last:
            # An empty host means the address of the server that replied.
            name = host.decode() if host else source.address.rpartition(":")[0]
            return source.with_address(name, port)
    raise LookupError(slot)


async def _first_reply(
    servers: Sequence[RedisServer],
    command: Sequence[str],
    timeout_seconds: float,
    *,
    required: bool = True,
) -> Any:
    """Send the command to one server after the other and return the first reply.

    When no server replies, raise BrokerUnavailable, or return None if no reply is required.
    """
    reason = ""
    for server in servers:
        connection = server.new_connection()
        try:
            async with asyncio.timeout(timeout_seconds / max(1, len(servers))):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command(*command)
                return await connection.read_response()
        except (RedisError, OSError, TimeoutError, RuntimeError) as error:
            reason = f"{server}: {str(error) or type(error).__name__}"
        finally:
            await connection.disconnect(nowait=True)
    if required:
        raise BrokerUnavailable(f"no Sentinel answers ({reason})")
    return None


def parse_topology(url: str) -> Topology:
    """Return the topology that a URL names. Raise ValueError with one sentence."""
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    if not kind:
        return Single(_parse_server(url))
    login, at, hosts = parts.netloc.rpartition("@")
    query = dict(parse_qsl(parts.query))
    password = query.pop("sentinel_password", None)
    path = parts.path.strip("/").split("/") if parts.path.strip("/") else []
    service = path.pop(0) if kind == "sentinel" and path else ""
    if kind == "sentinel" and not service:
        raise ValueError(
            "the URL of Sentinels must end with the name of the service, like /mymaster"
        )
    if kind == "cluster" and path not in ([], ["0"]):
        raise ValueError("a Cluster has no databases, so the path of its URL must be empty")
    default_port = 26379 if kind == "sentinel" else 6379
    servers = []
    for host in hosts.split(","):
        address = host if _has_port(host) else f"{host}:{default_port}"
        server_url = urlunsplit(
            (scheme, login + at + address, "/".join(path), urlencode(query), "")
        )
        servers.append(_parse_server(server_url))
    return Sentinel(servers, service, password) if kind == "sentinel" else Cluster(servers)


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not host.endswith("]")


def _parse_server(url: str) -> RedisServer:
    options = dict(redis.asyncio.connection.parse_url(url))
    if "path" not in options:
        options.setdefault("host", "localhost")
        options.setdefault("port", 6379)
    return RedisServer(options)
