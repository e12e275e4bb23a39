"""Which server has which partition: one Redis, one behind Sentinel, or a Cluster.

    redis://[user:password@]host[:6379][/database]      rediss:// for TLS, unix:///path for a socket
    redis+sentinel://[user:password@]host[:26379],host…/service[/database]
    redis+cluster://[user:password@]host[:6379],host…

The user and password are those of the data servers; Sentinels that ask for one get
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
    """A server: where it is and how to log in. Two are equal when they are at the same address."""

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
        """Another server of the same login."""
        return RedisServer({**self._options, "host": host, "port": port})

    def sentinel(self, password: str | None) -> RedisServer:
        """The same address, asked as a Sentinel: it has no databases and a login of its own."""
        own = {**self._options, "username": None, "password": password, "db": 0}
        return RedisServer(own)

    def new_connection(self) -> redis.asyncio.connection.AbstractConnection:
        """A connection of redis-py, to be connected: no second try, no time-out of its own.

        In Python 3.11 redis-py's time-outs go through asyncio.wait_for, which costs a task for each
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
    """Where the partitions are."""

    sharded: bool
    """Whether announcements stay on the server of their partition (SPUBLISH, SSUBSCRIBE)."""
    poll_seconds: float | None
    """How often to look again though nothing seems wrong; None: never."""

    async def find_servers(self, timeout_seconds: float) -> Sequence[RedisServer]:
        """The server of each partition, now. Raises BrokerUnavailable."""
        ...


class Single:
    """One server that has everything."""

    sharded = False
    poll_seconds: float | None = None

    def __init__(self, place: RedisServer) -> None:
        self._places = [place] * PARTITIONS

    async def find_servers(self, timeout_seconds: float) -> Sequence[RedisServer]:
        return self._places


class Sentinel:
    """One server that has everything; the Sentinels know which.

    https://redis.io/docs/latest/develop/reference/sentinel-clients/
    """

    sharded = False
    poll_seconds: float | None = 5.0

    def __init__(
        self, sentinels: Sequence[RedisServer], service: str, password: str | None
    ) -> None:
        self._servers = sentinels[0]
        self._sentinels = [place.sentinel(password) for place in sentinels]
        self._service = service

    async def find_servers(self, timeout_seconds: float) -> Sequence[RedisServer]:
        ask = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        found = await _first_answer(self._sentinels, ask, timeout_seconds)
        if found is None:
            raise BrokerUnavailable(f"the Sentinels know no service {self._service!r}")
        host, port = found
        return [self._servers.with_address(host.decode(), int(port))] * PARTITIONS


class Cluster:
    """Many servers, each with a part of the slots.

    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
    """

    sharded = True
    poll_seconds: float | None = 30.0

    def __init__(self, seeds: Sequence[RedisServer]) -> None:
        self._seeds = list(seeds)
        self._known: list[RedisServer] = []

    async def find_servers(self, timeout_seconds: float) -> Sequence[RedisServer]:
        asked = list(dict.fromkeys([*self._known, *self._seeds]))
        for place in asked:
            ranges = await _first_answer([place], ("CLUSTER", "SLOTS"), timeout_seconds, last=False)
            if ranges is None:
                continue
            try:
                places = [_owner(place, ranges, slot) for slot in _SLOTS]
            except LookupError:
                continue  # it does not know all of the Cluster (yet, or any more)
            self._known = list(dict.fromkeys(places))
            return places
        raise BrokerUnavailable("no server of the Cluster knows who has every partition")


def _owner(asked: RedisServer, ranges: Any, slot: int) -> RedisServer:
    for first, last, (host, port, *_), *_ in ranges:
        if first <= slot <= last:
            # An empty host means the address that was asked.
            name = host.decode() if host else asked.address.rpartition(":")[0]
            return asked.with_address(name, port)
    raise LookupError(slot)


async def _first_answer(
    places: Sequence[RedisServer],
    words: Sequence[str],
    timeout_seconds: float,
    *,
    last: bool = True,
) -> Any:
    """The answer of the first server that gives one. When none does: raises BrokerUnavailable, or
    returns None when others (`last` is False) may be asked.
    """
    why = ""
    for place in places:
        connection = place.new_connection()
        try:
            async with asyncio.timeout(timeout_seconds / max(1, len(places))):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command(*words)
                return await connection.read_response()
        except (RedisError, OSError, TimeoutError, RuntimeError) as error:
            why = f"{place}: {str(error) or type(error).__name__}"
        finally:
            await connection.disconnect(nowait=True)
    if last:
        raise BrokerUnavailable(f"no Sentinel answers ({why})")
    return None


def parse_topology(url: str) -> Topology:
    """The topology that a URL names. Raises ValueError in one sentence."""
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
        raise ValueError("a Sentinel's URL ends with the name of the service: /mymaster")
    if kind == "cluster" and path not in ([], ["0"]):
        raise ValueError("a Cluster has no databases: leave the path of the URL empty")
    default = 26379 if kind == "sentinel" else 6379
    places = []
    for host in hosts.split(","):
        named = host if _has_port(host) else f"{host}:{default}"
        one = urlunsplit((scheme, login + at + named, "/".join(path), urlencode(query), ""))
        places.append(_parse_server(one))
    return Sentinel(places, service, password) if kind == "sentinel" else Cluster(places)


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not host.endswith("]")


def _parse_server(url: str) -> RedisServer:
    options = dict(redis.asyncio.connection.parse_url(url))
    if "path" not in options:
        options.setdefault("host", "localhost")
        options.setdefault("port", 6379)
    return RedisServer(options)
