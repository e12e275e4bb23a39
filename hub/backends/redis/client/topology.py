"""Which server owns which partition: one server, one behind Sentinel, or a Cluster.

url.py parses the URL that names the topology.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import redis.asyncio.connection
from redis import DriverInfo
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, RedisError

from hub.backends.redis.client.credentials import PasswordSource, SourceCredentials
from hub.backends.redis.client.tls import is_address, is_name_mismatch
from hub.backends.redis.client.url import parse_url
from hub.backends.redis.keys import hash_tag
from hub.core.channel import PARTITIONS
from hub.errors import BrokerUnavailable

_DRIVER: Final = DriverInfo()  # otherwise each connection reads the metadata of redis-py
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

    def with_address(self, host: str, port: int, name: str | None = None) -> RedisServer:
        """Return a server at an address that was announced, with the same login.

        name: the host name that was announced with an IP address.
        """
        options = {**self._options, "host": host, "port": port}
        name = name or self._configured_name
        if "connection_class" in options and name is not None and is_address(host):
            options["configured_name"] = name
        else:
            options.pop("configured_name", None)
        return RedisServer(options)

    @property
    def _configured_name(self) -> str | None:
        """The host name of the URL, None if it has an address."""
        name: str | None = self._options.get("configured_name") or self._options.get("host")
        return None if name is None or is_address(name) else name

    def sentinel(self, login: Mapping[str, str]) -> RedisServer:
        """Return the server as a Sentinel: it has its own login and no databases."""
        without_login = {"username": None, "password": None, "credential_provider": None, "db": 0}
        options = {**self._options, **without_login, **login}
        return RedisServer(options)

    async def connect(self) -> redis.asyncio.connection.AbstractConnection:
        """Return a connection that has logged in. Raise RedisError and OSError."""
        try:
            return await self._open(self.new_connection())
        except RedisError as error:
            if "configured_name" not in self._options or not is_name_mismatch(error):
                raise
            return await self._open(self.new_connection(use_configured_name=False))

    async def _open(
        self, connection: redis.asyncio.connection.AbstractConnection
    ) -> redis.asyncio.connection.AbstractConnection:
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, AuthenticationError):
                self.on_login_refused()
            raise
        return connection

    def on_login_refused(self) -> None:
        """The next login needs a new password, if its source may have one."""
        credentials = self._options.get("credential_provider")
        if isinstance(credentials, SourceCredentials):
            credentials.source.on_refused()

    def new_connection(
        self, *, use_configured_name: bool = True
    ) -> redis.asyncio.connection.AbstractConnection:
        """Return an unopened redis-py connection without retries and timeouts.

        In Python 3.11 the timeouts of redis-py use asyncio.wait_for, which costs a task for each
        command and can swallow a cancellation.

        use_configured_name: see tls.py.
        """
        options = dict(self._options)
        configured_name = options.pop("configured_name", None)
        if configured_name is not None and use_configured_name:
            options.setdefault("server_name", configured_name)
        kind = options.pop("connection_class", redis.asyncio.connection.Connection)
        connection: redis.asyncio.connection.AbstractConnection = kind(
            **options,
            protocol=2,
            decode_responses=False,
            driver_info=_DRIVER,
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

    async def check(self, server: RedisServer, timeout_seconds: float) -> None:
        """Return if a server may be used to which a connection was just opened.

        Raise BrokerUnavailable otherwise.
        """
        ...


class Single:
    """One server that owns every partition."""

    sharded = False
    poll_seconds: float | None = None

    def __init__(self, server: RedisServer) -> None:
        self._servers = [server] * PARTITIONS

    async def find_servers(self, timeout_seconds: float) -> Sequence[RedisServer]:
        return self._servers

    async def check(self, server: RedisServer, timeout_seconds: float) -> None:
        """The only server may always be used."""


class Sentinel:
    """One server that owns every partition; the Sentinels know its address.

    https://redis.io/docs/latest/develop/reference/sentinel-clients/
    """

    sharded = False
    poll_seconds: float | None = 5.0

    def __init__(
        self, sentinels: Sequence[RedisServer], service: str, login: Mapping[str, str]
    ) -> None:
        self._template = sentinels[0]  # has the login of the data servers
        self._sentinels = [server.sentinel(login) for server in sentinels]
        self._service = service

    async def find_servers(self, timeout_seconds: float) -> Sequence[RedisServer]:
        command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        reason = ""
        for sentinel in self._sentinels:
            try:
                address = await _ask(sentinel, command, timeout_seconds / len(self._sentinels))
            except BrokerUnavailable as error:
                reason = str(error)
                continue
            if address is None:
                raise BrokerUnavailable(f"the Sentinels know no service {self._service!r}")
            host, port = address
            return [self._template.with_address(host.decode(), int(port))] * PARTITIONS
        raise BrokerUnavailable(f"no Sentinel answers ({reason})")

    async def check(self, server: RedisServer, timeout_seconds: float) -> None:
        """Ask the Sentinels again after each connect, as their clients must.

        An old primary that restarts is a primary, perhaps an empty one, until a Sentinel demotes
        it, so its own ROLE would not show that it may not be used.
        """
        primary, *_ = await self.find_servers(timeout_seconds)
        if primary != server:
            raise BrokerUnavailable(f"the Sentinels name {primary} as the primary, not {server}")


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
        reasons = []
        for server in dict.fromkeys([*self._known, *self._seeds]):
            try:
                ranges = await _ask(server, ("CLUSTER", "SLOTS"), timeout_seconds)
                owners = [_owner(server, ranges, slot) for slot in _SLOTS]
            except BrokerUnavailable as error:
                reasons.append(str(error))
            except LookupError:
                reasons.append(f"{server}: not every slot has an owner")
            else:
                self._known = list(dict.fromkeys(owners))
                return owners
        raise BrokerUnavailable(
            f"no server of the Cluster knows the owner of every partition ({reasons[-1]})"
        )

    async def check(self, server: RedisServer, timeout_seconds: float) -> None:
        """A server of a Cluster refuses what it does not own, also after its restart."""


def _owner(source: RedisServer, ranges: Any, slot: int) -> RedisServer:
    for first, last, (host, port, *more), *_ in ranges:
        if first <= slot <= last:
            names = _names(more)
            hostname = names.get(b"hostname", b"").decode() or None
            return source.with_address(_host(source, host, names), port, hostname)
    raise LookupError(slot)


def _names(more: Sequence[Any]) -> Mapping[bytes, bytes]:
    """Return the further names of a server in a reply to CLUSTER SLOTS, by their kind.

    more: the id of the server, and a list: `ip` and its value, and so on.
    """
    return dict(zip(more[1][::2], more[1][1::2], strict=False)) if len(more) > 1 else {}


def _host(source: RedisServer, host: bytes | None, names: Mapping[bytes, bytes]) -> str:
    """Return the host of a server in a reply to CLUSTER SLOTS.

    A host is `?` if the server has no name of the preferred kind. An empty host, and `?` without an
    address, mean the host of the server that replied.
    """
    if host == b"?":
        host = names.get(b"ip") or names.get(b"hostname")
    if host and host != b"?":
        return host.decode()
    return source.address.rpartition(":")[0]


async def _ask(server: RedisServer, command: Sequence[str], timeout_seconds: float) -> Any:
    """Return the reply of a server to one command. Raise BrokerUnavailable with its address."""
    try:
        async with asyncio.timeout(timeout_seconds):
            connection = await server.connect()
            try:
                await connection.send_command(*command)
                return await connection.read_response()
            finally:
                await connection.disconnect(nowait=True)
    except (RedisError, OSError, TimeoutError, RuntimeError) as error:
        raise BrokerUnavailable(f"{server}: {str(error) or type(error).__name__}") from error


def parse_topology(url: str, password: PasswordSource | None = None) -> Topology:
    """Return the topology that a URL names (url.py). Raise ValueError with one sentence.

    password: the source of the password of the data servers, if it is not in the URL.
    """
    parsed = parse_url(url)
    options = {**parsed.connection, **parsed.login}
    if password is not None:
        if "password" in options:
            raise ValueError(f"the URL has a password, and {password.setting} is set too")
        username = options.pop("username", None)
        options["credential_provider"] = SourceCredentials(password, username)
    default_port = 26379 if parsed.kind == "sentinel" else 6379
    servers = [
        RedisServer({**options, "host": host, "port": port or default_port})
        for host, port in parsed.hosts
    ]
    if parsed.kind == "sentinel":
        return Sentinel(servers, parsed.service, parsed.sentinel_login)
    if parsed.kind == "cluster":
        return Cluster(servers)
    return Single(servers[0] if servers else RedisServer(options))
