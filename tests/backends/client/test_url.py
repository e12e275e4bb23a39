"""The URL of the broker: every form, every option, and one sentence for each mistake."""

from __future__ import annotations

import inspect
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)

from hub.backends.redis.client import open_client
from hub.backends.redis.client.topology import Sentinel, Single, parse_topology
from hub.backends.redis.client.url import OPTIONS, SCHEMES, parse_url
from hub.cli.doctor.broker import check_broker
from hub.errors import BrokerUnavailable
from hub.settings import Settings
from tests.certificates import write_certificate
from tests.conftest import missing
from tests.topologies import TcpServer, free_ports


def connection_of(url: str) -> Any:
    topology = parse_topology(url)
    assert isinstance(topology, Single)
    return topology._servers[0].new_connection()


@pytest.mark.parametrize(
    ("url", "kind", "address"),
    [
        ("valkey://h", Connection, "h:6379"),
        ("valkeys://h:7000", SSLConnection, "h:7000"),
        ("redis://", Connection, "localhost:6379"),
        ("rediss://[fe80::1]:7000", SSLConnection, "fe80::1:7000"),
        ("unix:///run/a%20b.sock?db=2", UnixDomainSocketConnection, "/run/a b.sock"),
    ],
)
def test_schemes(url: str, kind: type, address: str) -> None:
    """Names of Valkey mean the same as those of Redis."""
    topology = parse_topology(url)
    assert isinstance(topology, Single)
    assert str(topology._servers[0]) == address
    assert type(connection_of(url)) is kind


def test_settings_take_exactly_these_schemes() -> None:
    """The settings and the parser agree."""
    for scheme in SCHEMES:
        path = "/service" if "sentinel" in scheme else ""
        path = "/run/redis.sock" if scheme == "unix" else path
        host = "" if scheme == "unix" else "h"
        url = f"{scheme}://{host}{path}"
        assert Settings.model_validate({"redis": {"url": url}}).redis.url == url
        parse_topology(url)
    for scheme in ("http", "redis+unix", "valkeyss", "rediss+unix"):
        with pytest.raises(ValueError, match="redis"):
            Settings.model_validate({"redis": {"url": f"{scheme}://h"}})
        with pytest.raises(ValueError, match="must begin with redis://"):
            parse_topology(f"{scheme}://h")


def test_login_and_database() -> None:
    """The login is percent-decoded, and may be in the query."""
    connection = connection_of("redis://us%40er:p%2Fw%3A@h/3?client_name=shop")
    assert (connection.username, connection.password) == ("us@er", "p/w:")
    assert (connection.db, connection.client_name) == (3, "shop")
    connection = connection_of("redis://h?username=u&password=a%2Fb&db=4")
    assert (connection.username, connection.password, connection.db) == ("u", "a/b", 4)
    connection = connection_of("redis://:pw@h")
    assert (connection.username, connection.password) == (None, "pw")


def test_sentinel_login() -> None:
    """The Sentinels have a login of their own, and share the certificates with the servers."""
    url = (
        "valkeys+sentinel://user:pw@a,[::1]:1/main/2?sentinel_username=watcher"
        "&sentinel_password=other&ssl_cert_reqs=none"
    )
    topology = parse_topology(url)
    assert isinstance(topology, Sentinel)
    for sentinel in topology._sentinels:
        connection: Any = sentinel.new_connection()
        assert (connection.username, connection.password, connection.db) == ("watcher", "other", 0)
        assert connection.cert_reqs is ssl.CERT_NONE
    assert [str(sentinel) for sentinel in topology._sentinels] == ["a:26379", "::1:1"]
    server: Any = topology._template.new_connection()
    assert (server.username, server.password, server.db) == ("user", "pw", 2)


def test_certificates(tmp_path: Path) -> None:
    """Each option of TLS reaches the connection."""
    cert, key = write_certificate(tmp_path)
    connection = connection_of(
        f"rediss://h?ssl_certfile={cert}&ssl_keyfile={key}&ssl_ca_certs={cert}"
        "&ssl_check_hostname=false&ssl_min_version=1.3&ssl_ca_path=" + str(tmp_path)
    )
    context = connection.ssl_context.get()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.check_hostname
    assert connection.certfile == cert


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://h?socket_timeout=5", "option socket_timeout: set redis.timeout_seconds"),
        ("redis://h?protocol=3", "option protocol: the hub always speaks RESP2"),
        ("redis://h?max_connections=9", "option max_connections: the hub decides this"),
        ("redis://h?ssl=true", "option ssl: the scheme rediss:// means TLS"),
        ("redis://h?nonsense=1", "unknown option, nonsense; the options are db, username"),
        ("redis://h?db=1&db=2", "option db twice"),
        ("redis://h/1?db=2", "in the path of the URL and in its option db"),
        ("redis://h?db=", "the db in the URL must be a number"),
        ("redis://h/shop", "the database in the URL must be a number, not 'shop'"),
        ("redis://h/1/2", "more than the number of a database"),
        ("redis://h?ssl_ca_certs=/x", "ssl_ca_certs of the URL needs TLS: rediss://"),
        ("redis://h?sentinel_password=x", r"needs Sentinels: redis\+sentinel://"),
        ("redis://a,b", "several hosts"),
        ("redis://h:0", "a port in the URL is not a number"),
        ("redis://h:99999", "a port in the URL is not a number"),
        ("redis://:6379", "a port without a host"),
        ("redis+cluster://h?db=1", "a Cluster has no databases"),
        ("redis+cluster://h/1", "a Cluster has no databases"),
        ("redis+sentinel://h", "name of the service"),
        ("unix://h/run/x", "a path and no host"),
        ("unix://", "a path and no host"),
        ("rediss://h?ssl_cert_reqs=maybe", "one of required, optional, none"),
        ("rediss://h?ssl_check_hostname=flase", "one of true, yes, 1, false, no, 0"),
        ("rediss://h?ssl_min_version=1.0", "one of 1.2, 771, 1.3, 772"),
        ("rediss://h?ssl_certfile=/none", r"ssl_certfile of the URL names /none, which cannot"),
        ("rediss://h?ssl_ca_path=/none", r"ssl_ca_path of the URL names /none, which cannot"),
        ("rediss://h?ssl_ca_certs=/", r"ssl_ca_certs of the URL names /, which cannot be read"),
        ("rediss://h?ssl_keyfile=/dev/null", "ssl_keyfile without ssl_certfile"),
        ("rediss://h?ssl_certfile=/dev/null", "ssl_certfile do not fit together"),
        ("rediss://h?ssl_ca_data=x", "ssl_ca_data do not fit together"),
        ("rediss://h?ssl_ciphers=x", "ssl_ciphers do not fit together"),
    ],
)
def test_mistakes(url: str, sentence: str) -> None:
    """One sentence names the mistake."""
    with pytest.raises(ValueError, match=sentence) as error:
        parse_topology(url)
    assert "\n" not in str(error.value)


def test_every_argument_of_redis_py_is_taken_or_refused() -> None:
    """No argument of a connection of redis-py leads to a traceback."""
    kinds = (AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection)
    names = {name for kind in kinds for name in inspect.signature(kind).parameters}
    for name in names - set(OPTIONS):
        with pytest.raises(ValueError, match=name):
            parse_topology(f"rediss://h?{name}=1")


async def test_client_certificate(tmp_path: Path) -> None:
    """A server that requires a certificate accepts the hub with one, and is named without one."""
    binary = shutil.which("redis-server") or missing("redis-server")
    cert, key = write_certificate(tmp_path)
    port, tls_port = free_ports(2)
    tls = ("--tls-port", str(tls_port), "--tls-auth-clients", "yes")
    files = ("--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
    server = TcpServer(binary, tmp_path, port, *tls, *files)
    try:
        url = f"valkeys://localhost:{tls_port}?ssl_ca_certs={cert}"
        own = f"&ssl_certfile={cert}&ssl_keyfile={key}"
        async with open_client(url + own, timeout_seconds=5) as client:
            assert await client.call(0, "ECHO", "x") == b"x"
        async with open_client(url, timeout_seconds=5) as client:
            with pytest.raises(BrokerUnavailable, match=r"(?i)certificate|closed|reset"):
                await client.ping()
        distrustful = f"rediss://localhost:{tls_port}"
        results = await check_broker(Settings.model_validate({"redis": {"url": distrustful}}))
        assert "ssl_ca_certs" in results[-1].advice
    finally:
        server.kill()


_PARTS = st.text(alphabet="redis+cluntvaky:/@?&=,[]%2f.19 sl_b\n\u00e4", max_size=30)


@given(st.sampled_from(sorted(SCHEMES)), _PARTS)
@example("redis", "%")
@example("redis", "[")
@example("redis+sentinel", "h/%2F/")
@example("redis", "h?%")
def test_any_text_is_a_url_or_an_error_of_one_sentence(scheme: str, rest: str) -> None:
    """Whatever the settings accept becomes connections, or a ValueError."""
    try:
        parsed = parse_url(f"{scheme}://{rest}")
    except ValueError:
        return
    topology = parse_topology(f"{scheme}://{rest}")
    if isinstance(topology, Single):
        topology._servers[0].new_connection()
    assert parsed.hosts or parsed.kind == "unix"


async def test_error_does_not_show_a_password() -> None:
    """The sentence about an option does not repeat a secret."""
    with pytest.raises(ValueError, match="unknown option") as error:
        async with open_client("redis://u:hunter2@h?pasword=hunter3", timeout_seconds=1):
            pass
    assert "hunter" not in str(error.value)
