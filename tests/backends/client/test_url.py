"""The URL of the broker: every form, every option, and one sentence for each mistake."""

from __future__ import annotations

import inspect
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
from hub.backends.redis.client.tls import TlsConnection
from hub.backends.redis.client.topology import Sentinel, Single, _owner, parse_topology
from hub.backends.redis.client.url import OPTIONS, SCHEMES, parse_url
from hub.cli.doctor.broker import check_broker
from hub.errors import BrokerUnavailable
from hub.settings import Settings
from tests.certificates import write_certificate
from tests.conftest import missing, temporary_folder
from tests.topologies import TcpServer, free_ports
from tests.topologies import until as wait_until


def connection_of(url: str) -> Any:
    topology = parse_topology(url)
    assert isinstance(topology, Single)
    return topology._servers[0].new_connection()


@pytest.mark.parametrize(
    ("url", "kind", "address"),
    [
        ("valkey://h", Connection, "h:6379"),
        ("valkeys://h:7000", TlsConnection, "h:7000"),
        ("redis://", Connection, "localhost:6379"),
        ("rediss://[fe80::1]:7000", TlsConnection, "fe80::1:7000"),
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


@pytest.fixture(scope="module")
def tls_cluster() -> Iterator[Callable[[str], tuple[int, str]]]:
    """Start a Cluster of one server by the name of its certificate. Return its port for TLS and
    the file of the certificate.
    """
    binary = shutil.which("redis-server") or missing("redis-server")
    with ExitStack() as started:
        clusters: dict[str, tuple[int, str]] = {}

        def start(name: str) -> tuple[int, str]:
            if name not in clusters:
                folder = temporary_folder("tls", started)
                cert, key = write_certificate(folder, name)
                port, tls_port, bus_port = free_ports(3)
                files = ("--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
                cluster = (
                    *("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"),
                    *(
                        "--cluster-port",
                        str(bus_port),
                        "--tls-auth-clients",
                        "no",
                        "--tls-cluster",
                        "yes",
                    ),
                )
                tls = ("--tls-port", str(tls_port), *files)
                server = TcpServer(binary, folder, port, *cluster, *tls)
                started.callback(server.kill)
                server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
                wait_until(lambda: b"state:ok" in server.ask("CLUSTER", "INFO"), folder)
                clusters[name] = tls_port, cert
            return clusters[name]

        yield start


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


@pytest.mark.parametrize(
    ("name", "url", "works"),
    [
        ("localhost", "localhost:{port}", True),  # the host name of the URL
        ("127.0.0.1", "localhost:{port}", True),  # else the address that the Cluster announces
        ("127.0.0.1", "127.0.0.1:{port}", True),
        ("localhost", "127.0.0.1:{port}", False),
        ("localhost", "127.0.0.1:{port}?ssl_server_name=localhost&", True),
        ("other.example", "localhost:{port}", False),
        ("other.example", "localhost:{port}?ssl_server_name=other.example&", True),
        ("localhost", "localhost:{port}?ssl_server_name=other.example&", False),
        ("other.example", "localhost:{port}?ssl_check_hostname=false&", True),
    ],
)
async def test_cluster_with_tls_that_announces_addresses(
    tls_cluster: Callable[[str], tuple[int, str]], name: str, url: str, works: bool
) -> None:
    """The certificate of a server whose address was announced is verified by the host name of the
    URL, by the address, or by the name that an option gives.
    """
    port, cert = tls_cluster(name)
    url = url.format(port=port)
    url = f"rediss+cluster://{url}{'' if '?' in url else '?'}ssl_ca_certs={cert}"
    if not works:
        with pytest.raises(BrokerUnavailable, match=r"(?i)certificate is not valid for"):
            async with open_client(url, timeout_seconds=5):
                pass
        return
    async with open_client(url, timeout_seconds=5) as client:
        assert [server.address for server in client.servers()] == [f"127.0.0.1:{port}"]
        assert await client.call(0, "ECHO", "x") == b"x"


def test_address_that_sentinels_announce() -> None:
    """It is verified by the host name of the URL too; an announced host name by itself."""
    topology = parse_topology("rediss+sentinel://sentinel.example/main")
    assert isinstance(topology, Sentinel)
    announced: Any = topology._template.with_address("10.0.0.7", 6379)
    assert announced.new_connection()._server_name == "sentinel.example"
    assert announced.new_connection(use_configured_name=False)._server_name is None
    named: Any = announced.with_address("redis-1.example", 6379)
    assert named.new_connection()._server_name is None
    plain: Any = parse_topology("redis+sentinel://sentinel.example/main")
    assert type(plain._template.with_address("10.0.0.7", 1).new_connection()) is Connection


def test_host_name_that_a_cluster_announces_with_an_address() -> None:
    """It names the server of the certificate."""
    topology: Any = parse_topology("rediss+cluster://seed.example")
    more = [b"id", [b"hostname", b"redis-1.example"]]
    owner = _owner(topology._seeds[0], [[0, 16383, [b"10.0.0.7", 6379, *more]]], 5)
    connection: Any = owner.new_connection()
    assert (owner.address, connection._server_name) == ("10.0.0.7:6379", "redis-1.example")


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
