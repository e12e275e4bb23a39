"""Parses the URL of the broker.

    redis://[user:password@]host[:6379][/database]      rediss:// for TLS, unix:///path for a socket
    redis+sentinel://[user:password@]host[:26379],host…/service[/database]
    redis+cluster://[user:password@]host[:6379],host…

`valkey` means the same as `redis`, and `valkeys` the same as `rediss`. The user and password are
those of the data servers. Every option of the query is one of OPTIONS; any other one is an error
that names it, because an option that is silently ignored may be one that protects somebody.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from redis.asyncio.connection import RedisSSLContext, UnixDomainSocketConnection
from redis.exceptions import RedisError

from hub.backends.redis.client.tls import TlsConnection

SCHEMES: Final = {
    f"{name}{tls}{kind}": (tls == "s", kind.removeprefix("+"))
    for name in ("redis", "valkey")
    for tls in ("", "s")
    for kind in ("", "+sentinel", "+cluster")
} | {"unix": (False, "unix")}
_TLS_VERSIONS: Final = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "771": ssl.TLSVersion.TLSv1_2,  # the number that redis-py takes
    "1.3": ssl.TLSVersion.TLSv1_3,
    "772": ssl.TLSVersion.TLSv1_3,
}
_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MAX_DATABASE: Final = 2**31 - 1
_OWN: Final = "the hub decides this itself"
# Options of redis-py that the hub does not take, each with the reason.
_REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("socket_timeout", "socket_connect_timeout", "timeout"), "set redis.timeout_seconds instead"
    ),
    "protocol": "the hub always speaks RESP2",
    "ssl": "the scheme rediss:// means TLS",
    **dict.fromkeys(
        (
            "decode_responses", "encoding", "encoding_errors", "health_check_interval", "host",
            "legacy_responses", "lib_name", "lib_version", "max_connections", "path", "port",
            "retry_on_error", "retry_on_timeout", "single_connection_client", "socket_keepalive",
            "socket_read_size", "socket_type", "ssl_exclude_verify_flags",
            "ssl_include_verify_flags",
        ),
        _OWN,
    ),
}  # fmt: skip


class RedisUrl(NamedTuple):
    """What a URL says.

    kind: "" (one server), "unix", "sentinel" or "cluster". hosts: without a port where the URL has
    none. login: of the data servers, with their database. sentinel_login: of the Sentinels.
    connection: the other arguments of a redis-py connection, the same for every server.
    """

    kind: str
    hosts: list[tuple[str, int | None]]
    service: str
    login: dict[str, Any]
    sentinel_login: dict[str, Any]
    connection: dict[str, Any]


def parse_url(url: str) -> RedisUrl:
    """Parse the URL of the broker. Raise ValueError with one sentence, without a secret."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(
            "the URL must begin with redis://, rediss://, unix://, redis+sentinel:// or "
            "redis+cluster:// (or the same with valkey)"
        )
    has_tls, kind = SCHEMES[scheme]
    address, _, query = rest.partition("?")
    authority, slash, path = address.partition("/")
    options = _parse_options(query, has_tls=has_tls, kind=kind)
    login_text, _, hosts_text = authority.rpartition("@")
    user, _, password = login_text.partition(":")
    login: dict[str, Any] = {"username": unquote(user), "password": unquote(password)}
    login = {name: value for name, value in login.items() if value}
    login |= _take(options, ("username", "password"))
    sentinel_login = {
        name.removeprefix("sentinel_"): value
        for name, value in _take(options, ("sentinel_username", "sentinel_password")).items()
    }
    database = options.pop("db", None)
    if kind == "unix":
        if hosts_text or not path:
            raise ValueError("a unix URL has a path and no host, like unix:///run/valkey.sock")
        connection = {"path": unquote(slash + path), "connection_class": UnixDomainSocketConnection}
        login["db"] = database or 0
        return RedisUrl(kind, [], "", login, {}, {**options, **connection})
    hosts = [_parse_host(host) for host in hosts_text.split(",")]
    if kind == "" and len(hosts) > 1:
        raise ValueError(
            "the URL names several hosts: use redis+cluster:// for a Cluster, or "
            "redis+sentinel:// for Sentinels"
        )
    service, path_database = _parse_path(path, kind)
    if database is not None and path_database is not None:
        raise ValueError("the database is in the path of the URL and in its option db")
    login["db"] = path_database or database or 0
    if has_tls:
        server_name = options.pop("ssl_server_name", None)
        _check_tls(options)
        options |= {"connection_class": TlsConnection, "server_name": server_name}
    return RedisUrl(kind, hosts, service, login, sentinel_login, options)


def _take(options: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: options.pop(name) for name in names if name in options}


def _parse_options(query: str, *, has_tls: bool, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in _REFUSED:
            raise ValueError(f"the URL cannot have the option {name}: {_REFUSED[name]}")
        if name not in OPTIONS:
            raise ValueError(
                f"the URL has an unknown option, {name}; the options are {', '.join(OPTIONS)}"
            )
        if name in options:
            raise ValueError(f"the URL has the option {name} twice")
        if name.startswith("ssl_") and not has_tls:
            raise ValueError(f"the option {name} of the URL needs TLS: rediss://")
        if name.startswith("sentinel_") and kind != "sentinel":
            raise ValueError(f"the option {name} of the URL needs Sentinels: redis+sentinel://")
        if name == "db" and kind == "cluster":
            raise ValueError("a Cluster has no databases, so its URL has no option db")
        options[name] = OPTIONS[name](name, text)
    return options


def _parse_host(text: str) -> tuple[str, int | None]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    host = unquote(host).removeprefix("[").removesuffix("]")
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError("a port in the URL is not a number from 1 to 65535")
    if not host and (port or "," in text):
        raise ValueError("the URL has a port without a host")
    return host or "localhost", int(port) if port else None


def _parse_path(path: str, kind: str) -> tuple[str, int | None]:
    """Return the name of the Sentinels' service, and the database."""
    segments = [unquote(segment) for segment in path.strip("/").split("/") if segment]
    service = ""
    if kind == "sentinel":
        if not segments:
            raise ValueError(
                "the URL of Sentinels must end with the name of the service, like /mymaster"
            )
        service = segments.pop(0)
    if kind == "cluster" and segments not in ([], ["0"]):
        raise ValueError("a Cluster has no databases, so the path of its URL must be empty")
    if len(segments) > 1:
        raise ValueError("the path of the URL has more than the number of a database")
    return service, _number("database", segments[0]) if segments else None


def _check_tls(options: Mapping[str, Any]) -> None:
    """Load the certificates once: later they are loaded for each connection, so they can rotate."""
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ValueError("the URL has the option ssl_keyfile without ssl_certfile")
    for name in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs", "ssl_ca_path"):
        if name in options:
            _check_readable(name, options[name])
    names = {name.removeprefix("ssl_"): value for name, value in options.items() if "ssl_" in name}
    try:
        RedisSSLContext(**{"cert_reqs": "required", "check_hostname": True, **names}).get()
    except (RedisError, OSError, ValueError) as error:
        raise ValueError(
            f"the URL's options {', '.join(each for each in options if 'ssl_' in each)} do not "
            f"fit together: {error}"
        ) from None


def _check_readable(name: str, path: str) -> None:
    try:
        if name == "ssl_ca_path":
            next(Path(path).iterdir(), None)
        else:
            with Path(path).open("rb") as file:
                file.read(1)
    except OSError as error:
        raise ValueError(
            f"the option {name} of the URL names {path}, which cannot be read ({error.strerror})"
        ) from None


def _text(name: str, text: str) -> str:
    if not text:
        raise ValueError(f"the option {name} of the URL is empty")
    return text


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= _MAX_DATABASE):
        raise ValueError(f"the {name} in the URL must be a number, not {text!r}")
    return int(text)


def _choice(choices: Mapping[str, Any]) -> Callable[[str, str], Any]:
    def parse(name: str, text: str) -> Any:
        if text.lower() not in choices:
            raise ValueError(f"the option {name} of the URL is one of {', '.join(choices)}")
        return choices[text.lower()]

    return parse


OPTIONS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "db": _number,
    "username": _text,
    "password": _text,
    "sentinel_username": _text,
    "sentinel_password": _text,
    "client_name": _text,
    "ssl_certfile": _text,
    "ssl_keyfile": _text,
    "ssl_password": _text,
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_ca_data": _text,
    "ssl_cert_reqs": _choice({each: each for each in ("required", "optional", "none")}),
    "ssl_server_name": _text,
    "ssl_check_hostname": _choice(_BOOLEANS),
    "ssl_min_version": _choice(_TLS_VERSIONS),
    "ssl_ciphers": _text,
}
