"""`hub doctor` for the set-up: every problem has a result with advice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hub.backends.redis.permissions import acl_rules
from hub.cli.doctor.broker import check_broker
from hub.cli.doctor.keys import check_keys, key_weakness
from hub.cli.doctor.machine import check_machine
from hub.cli.doctor.probe import CheckResult
from hub.settings import Settings
from tests.certificates import write_certificate
from tests.conftest import missing, short_folder
from tests.topologies import TcpServer, free_ports, valkey_binary

WRONG_SETTINGS = (
    "--maxmemory-policy", "allkeys-lru", "--maxclients", "6",
    "--client-output-buffer-limit", "pubsub 64kb 16kb 1",
    "--client-output-buffer-limit", "normal 64kb 0 0",
)  # fmt: skip


@pytest.fixture(params=["valkey", "redis"])
def binary(request: pytest.FixtureRequest) -> str:
    """Both servers."""
    if request.param == "valkey":
        return valkey_binary()
    return shutil.which("redis-server") or missing("redis-server")


@pytest.fixture
def folder() -> Iterator[Path]:
    made = short_folder("doctor")
    yield made
    shutil.rmtree(made)


def settings(url: str) -> Settings:
    return Settings.model_validate({"redis": {"url": url}})


async def wait_for_cluster(server: TcpServer) -> None:
    """Wait until a server of a Cluster takes commands for the slots that it has."""
    async with asyncio.timeout(60):
        while b"cluster_state:ok" not in server.ask("CLUSTER", "INFO"):
            await asyncio.sleep(0.05)  # the server announces the change to nobody


def by_check(results: list[CheckResult]) -> dict[str, list[CheckResult]]:
    grouped: dict[str, list[CheckResult]] = {}
    for result in results:
        assert bool(result.advice) is (result.status != "ok")
        grouped.setdefault(result.check, []).append(result)
    return grouped


@pytest.mark.parametrize(
    ("setting", "value", "check", "advice"),
    [
        ("maxmemory", "500kb", "broker memory", "raise maxmemory"),
        ("min-replicas-to-write", "1", "broker writes", "min-replicas-to-write"),
    ],
)
async def test_server_that_stores_nothing(
    binary: str, folder: Path, setting: str, value: str, check: str, advice: str
) -> None:
    """A server that refuses every publish has a result that says so."""
    server = TcpServer(binary, folder, free_ports(1)[0], f"--{setting}", value)
    try:
        results = by_check(await check_broker(settings(f"redis://127.0.0.1:{server.port}")))
    finally:
        server.kill()
    refused = [each for each in results[check] if "Every publish is refused" in each.message]
    assert [(each.status, advice in each.advice) for each in refused] == [("fail", True)]


async def test_server_with_wrong_settings(binary: str, folder: Path) -> None:
    """Each wrong setting has a result, whose advice is the command that corrects it."""
    server = TcpServer(binary, folder, free_ports(1)[0], *WRONG_SETTINGS)
    try:
        used = re.search(rb"used_memory:(\d+)", server.ask("INFO", "memory"))
        assert used is not None
        server.ask("CONFIG", "SET", "maxmemory", int(used[1]) * 11 // 10)
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
        results = by_check(await check_broker(settings(f"redis://127.0.0.1:{server.port}")))
        for client in clients:
            client.close()
    finally:
        server.kill()
    advice = {
        check: [result.advice for result in of_check]
        for check, of_check in results.items()
        if of_check[0].advice
    }
    assert advice.pop("broker eviction policy") == ["run CONFIG SET maxmemory-policy noeviction"]
    assert advice.pop("broker memory")[0].startswith("raise maxmemory")
    assert advice.pop("broker persistence")[0].startswith("run CONFIG SET appendonly yes")
    assert advice.pop("broker output buffers") == [
        'run CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60"',
        'run CONFIG SET client-output-buffer-limit "normal 0 0 0"',
    ]
    assert advice.pop("broker clients") == ["run CONFIG SET maxclients 10000"]
    advice.pop("broker latency", None)  # it fails when this machine is busy
    assert advice == {}
    assert results["broker"][0].status == results["broker clock"][0].status == "ok"


async def test_server_as_it_should_be(binary: str, folder: Path) -> None:
    """A good server has no problem."""
    server = TcpServer(binary, folder, free_ports(1)[0], "--appendonly", "yes")
    try:
        results = by_check(await check_broker(settings(f"redis://127.0.0.1:{server.port}")))
    finally:
        server.kill()
    results.pop("broker latency")
    assert results.keys() == {"broker", "broker persistence", "broker clock"}
    assert {result.status for of_check in results.values() for result in of_check} == {"ok"}


async def test_replica_login_and_password(folder: Path) -> None:
    """A replica, a login that may not run scripts and a missing password are reported."""
    primary, port = free_ports(2)
    server = TcpServer(valkey_binary(), folder, port, "--replicaof", f"127.0.0.1 {primary}")
    try:
        server.ask("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+info", "+time")
        results = by_check(await check_broker(settings(f"redis://reader:pw@127.0.0.1:{port}")))
        assert "redis+sentinel://" in results["broker role"][0].advice
        assert "ACL SETUSER" in results["broker permissions"][0].advice
        assert "may not read the limits" in results["broker output buffers"][0].message
        server.ask("ACL", "SETUSER", "default", "off")
        (refused,) = await check_broker(settings(f"redis://127.0.0.1:{port}"))
        assert refused.advice.startswith("set user and password in redis.url")
    finally:
        server.kill()


async def test_login_with_few_permissions(binary: str, folder: Path) -> None:
    """Exactly the documented permissions are enough; the advice lists them when one is missing."""
    server = TcpServer(binary, folder, free_ports(1)[0])
    url = f"redis://hub:pw@127.0.0.1:{server.port}"
    try:
        server.ask("ACL", "SETUSER", "hub", "reset", "on", ">pw", *acl_rules().split())
        results = by_check(await check_broker(settings(url)))
        assert [each for group in results.values() for each in group if each.status == "fail"] == []
        assert "may not run INFO" in results["broker info"][0].message
        for command in ("get", "publish", "eval"):
            server.ask("ACL", "SETUSER", "hub", f"-{command}")
            (forbidden,) = by_check(await check_broker(settings(url)))["broker permissions"]
            assert forbidden.status == "fail"
            assert f"+{command}" in forbidden.advice
            server.ask("ACL", "SETUSER", "hub", f"+{command}")
    finally:
        server.kill()


async def test_server_of_a_cluster(binary: str, folder: Path) -> None:
    """A server of a Cluster is reported if the URL names it alone and others have its keys."""
    port, bus_port = free_ports(2)
    options = ("--cluster-enabled", "yes", "--cluster-port", str(bus_port))
    server = TcpServer(binary, folder, port, *options)
    url = f"redis://127.0.0.1:{server.port}"
    try:
        server.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        server.ask("CLUSTER", "ADDSLOTSRANGE", "0", "8000")
        await wait_for_cluster(server)
        results = by_check(await check_broker(settings(url)))
        (problem,) = results["broker cluster"]
        assert problem.status == "fail"
        assert "redis+cluster://" in problem.advice
        assert "broker permissions" not in results
        server.ask("CLUSTER", "ADDSLOTSRANGE", "8001", "16383")
        assert "broker cluster" not in by_check(await check_broker(settings(url)))
    finally:
        server.kill()


async def test_url_with_the_wrong_scheme(tmp_path: Path, folder: Path) -> None:
    """A server that requires TLS, and one that has none: the advice names the other scheme."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*write_certificate(tmp_path))
    with_tls = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with with_tls:
        port = with_tls.sockets[0].getsockname()[1]
        (refused,) = await check_broker(settings(f"redis://127.0.0.1:{port}"))
    assert "rediss:// instead of redis://" in refused.advice
    server = TcpServer(valkey_binary(), folder, free_ports(1)[0])
    try:
        (refused,) = await check_broker(settings(f"rediss://127.0.0.1:{server.port}"))
    finally:
        server.kill()
    assert "redis:// instead of rediss://" in refused.advice


@asynccontextmanager
async def old_server() -> AsyncIterator[int]:
    """Serve as a slow Redis 6 that refuses CONFIG and whose clock is an hour ahead."""
    info = b"redis_version:6.2.14\r\nrun_id:x\r\nrole:master\r\naof_enabled:1\r\n"

    serving = set[asyncio.Task[Any] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            match words[0].upper():
                case b"INFO":
                    writer.write(b"$%d\r\n%b\r\n" % (len(info), info))
                case b"CONFIG":
                    writer.write(b"-ERR unknown command 'CONFIG'\r\n")
                case b"TIME":
                    await asyncio.sleep(0.01)
                    seconds = str(int(time.time()) + 3600).encode()
                    writer.write(b"*2\r\n$%d\r\n%b\r\n$1\r\n0\r\n" % (len(seconds), seconds))
                case _:
                    writer.write(b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*(task for task in serving if task is not None))


async def test_old_and_distant_server_with_another_clock() -> None:
    """The wrong version, the latency and the clock are reported."""
    async with old_server() as port:
        results = by_check(await check_broker(settings(f"redis://127.0.0.1:{port}")))
    assert results["broker"][0].status == "fail"
    assert "instead of Redis 6.2.14" in results["broker"][0].advice
    assert "closer" in results["broker latency"][0].advice
    assert "s ahead of" in results["broker clock"][0].message
    assert "may not read the limits" in results["broker output buffers"][0].message


@pytest.mark.parametrize(
    ("secret", "weakness"),
    [
        ("secret", "well-known"),
        ("changeme-changeme-changeme-changeme", "well-known"),
        ("my-super-secret-password-123456", "well-known"),
        ("your-256-bit-secret-your-256-bit-secret", "well-known"),
        ("Zq8!xB3w", "8 characters"),
        ("k7Qz-T9vXw2mB4rk7Qz-T9vXw2mB4r", "repeats the same 15"),
        ("pqqrpqrrpqrpqqpqrrpqprqpprqqrppq", "only 3 different"),
        ("abcdefghijklmnopqrstuvwxyz012345", "neighbouring"),
        ("tXbV0Jm1uYwKc8o4Zr5Hq2Ne7Sg9Pd3A", ""),
        ("0f1e6c2d9b8a47535f60718293a4b5c6", ""),
    ],
)
def test_weak_secrets(secret: str, weakness: str) -> None:
    """Short, well-known, repetitive and sequential secrets are weak; random ones are not."""
    result = key_weakness(secret)
    assert weakness in result if weakness else result == ""


def test_keys_that_are_too_weak() -> None:
    """The result names the setting of each weak key and never shows the key."""
    weak = generate_private_key(65537, 1024).public_key()  # noqa: S505 - a weak key on purpose
    pem = weak.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    secret = "changeme" * 4
    auth = {
        "hmac_secret": secret,
        "public_keys": [pem, "none"],
        "api_keys": [
            {"name": "shop", "key": secret, "scopes": ["publish"]},
            {"sha256": hashlib.sha256(b"changeme").hexdigest(), "scopes": ["admin"]},
        ],
    }
    results = by_check([*check_keys(Settings.model_validate({"auth": auth}))])
    assert results.keys() == {
        "keys", "auth.hmac_secret", "auth.api_keys[0] (shop)", "auth.api_keys[1]",
        "auth.public_keys[0]", "auth.public_keys[1]",
    }  # fmt: skip
    assert results["keys"][1].message == "the same secret is set twice"
    assert "1024 bits" in results["auth.public_keys[0]"][0].message
    assert not any("changeme" in str(each) for each in results.values())


def test_few_open_files(tmp_path: Path) -> None:
    """A limit that is too low is reported, and the advice has the limit that is needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    results = check_machine(max(1, soft - 200))
    (enough,) = (result for result in results if result.check == "open files")
    assert enough.status == "ok"

    def lower_limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))

    environment = {name: text for name, text in os.environ.items() if not name.startswith("HUB_")}
    done = subprocess.run(
        [sys.executable, "-m", "hub", "doctor", "--json"],
        preexec_fn=lower_limit, capture_output=True, text=True, check=False, timeout=60,
        cwd=tmp_path,
        env={
            **environment, "HUB_REDIS__URL": "unix:///nowhere", "HUB_INTERNAL__SOCKET": "/none/s",
            "HUB_PUBLIC__HOST": "192.0.2.1", "HUB_STREAM__MAX_CONNECTIONS": "5000",
        },
    )  # fmt: skip
    rows: dict[str, Any] = {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 3
    assert "may open 256" in rows["open files"]["message"]
    assert rows["open files"]["advice"].startswith("run ulimit -n 5200")
    assert rows["public port"]["status"] == rows["internal socket"]["status"] == "fail"


def test_low_kernel_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short listen backlog and few local ports are reported, with the command to run."""
    for name, text in (("core/somaxconn", "128"), ("ipv4/ip_local_port_range", "50000\t50999")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr("hub.cli.doctor.machine._SYSCTL_DIRECTORY", tmp_path)
    results = by_check([*check_machine(5000)])
    assert "net.core.somaxconn" in results["listen backlog"][0].advice
    assert "can open 1000 connections" in results["local ports"][0].message
